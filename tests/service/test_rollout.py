"""A new model beside the old one, served: a canary for half of the users, a shadow for all requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import bentoml
import httpx
import numpy as np
import psutil
import pytest
from _bentoml_impl.client import RemoteProxy
from bentoml.exceptions import BentoMLException
from redis import Redis

from ranker.errors import ModelFailed
from ranker.scheduling.sampling import Split
from ranker.scoring.model import OnnxModel
from ranker.serving.runner import WaysToScores
from ranker.settings.environment import Settings
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import encode
from tests.service.conftest import (
    ONNX,
    PRODUCTS,
    SCHEMA,
    USERS,
    Served,
    Shop,
    import_model,
    import_service,
    serve,
    stock,
)
from tests.service.test_startup import start
from tests.support.models import mlp_onnx, temporary_model_store
from tests.support.sample import run

NEXT = FeatureSchema.from_mapping(
    {
        "user": {"key": "v2:user:{id}", "format": "float32", "features": [f"x{i}" for i in range(3)]},
        "product": {"key": "v2:product:{id}", "features": [f"y{i}" for i in range(5)]},
    }
)
NEXT_ONNX = mlp_onnx(NEXT.width, seed=9)
RANDOM = np.random.default_rng(3)
NEXT_USERS = RANDOM.normal(size=(USERS, 3)).astype(np.float32)
NEXT_PRODUCTS = RANDOM.normal(size=(PRODUCTS, 5)).astype(np.float32)
IDS = [str(i) for i in range(30)]


def set_up_next(shop: Shop, redis_url: str) -> str:
    """Import the next model beside the shop's, and stock Redis for both; return its tag."""
    tag = import_model(Path(shop.environment["BENTOML_HOME"]).parent, NEXT_ONNX, NEXT, "test-next")
    stock(shop, redis_url)
    with Redis.from_url(redis_url) as client:
        client.mset({f"v2:user:{i}": row.tobytes() for i, row in enumerate(NEXT_USERS)})
        client.mset({f"v2:product:{i}": v for i, v in enumerate(encode(NEXT_PRODUCTS, NEXT.fingerprint))})
    return tag


def next_scores(user: int) -> np.ndarray:
    """Score `IDS` for a user offline, as the next model should."""
    rows = np.hstack([np.tile(NEXT_USERS[user], (len(IDS), 1)), NEXT_PRODUCTS[: len(IDS)]])
    return OnnxModel(NEXT_ONNX, NEXT).score(rows)


@pytest.fixture(scope="module", params=["service", "local"])
def rolling_out(
    request: pytest.FixtureRequest, shop: Shop, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    tag = set_up_next(shop, redis_url)
    env = shop.environment | {
        "RANKER_RUNNER": request.param,
        "RANKER_CANARY_MODEL": tag,
        "RANKER_CANARY_PERCENT": "50",
        "RANKER_SHADOW_MODEL": tag,
        "RANKER_SHADOW_PERCENT": "100",
    }
    log = tmp_path_factory.mktemp("rollout") / "log"
    with serve(env, log) as running:
        yield running
    text = log.read_text()
    assert text.count("Traceback") == text.count(".UnprocessableEntity: "), text[-4000:]


def metrics(served: Served, name: str) -> float:
    lines = httpx.get(f"{served.url}/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def test_each_user_gets_the_model_that_the_hash_says_and_its_scores(rolling_out: Served, shop: Shop) -> None:
    split, seen = Split("test-next:1", 50), set()
    for user in range(USERS):
        body = {"requestId": "r", "userId": str(user), "productIds": IDS}
        response = httpx.post(f"{rolling_out.url}/predict", json=body)
        model = "test-next:1" if split.takes(str(user)) else shop.tag
        seen.add(model)
        expected = shop.scores(str(user), IDS) if model == shop.tag else next_scores(user)
        answer = response.json()
        assert response.headers["x-ranker-model"] == model
        assert (answer["degraded"], answer["missing"]) == (False, [])
        assert answer["scores"] == pytest.approx(sorted(expected.tolist(), reverse=True), abs=1e-6)
    assert len(seen) == 2


def test_shadow_compares_what_the_model_ranked(rolling_out: Served, shop: Shop) -> None:
    split = Split("test-next:1", 50)
    users = [str(i) for i in range(USERS) if not split.takes(str(i))][:5]
    before = metrics(rolling_out, "ranker_shadow_requests_total")
    for user in users:
        body = {"requestId": "r", "userId": user, "productIds": IDS}
        assert httpx.post(f"{rolling_out.url}/predict", json=body).status_code == 200
    for _ in range(300):
        if metrics(rolling_out, 'ranker_shadow_requests_total{outcome="compared"}') >= before + len(users):
            break
    else:
        pytest.fail("the shadow compared nothing")
    assert metrics(rolling_out, "ranker_shadow_top_k_overlap_count") >= len(users)
    assert metrics(rolling_out, f'ranker_model_requests_total{{model="{shop.tag}"}}') >= len(users)


def runner_url(served: Served) -> str:
    """Where BentoML had the runner listen, as it tells the API workers."""
    for child in psutil.Process(served.process.pid).children(recursive=True):
        if told := child.environ().get("BENTOML_RUNNER_MAP"):
            return str(json.loads(told)["ranker_runner"])
    pytest.fail("no process was told where the runner is")


@pytest.mark.parametrize("rolling_out", ["service"], indirect=True)
def test_runner_scores_with_each_model_for_bentomls_client(
    rolling_out: Served, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MODEL", "CANARY_MODEL", "SHADOW_MODEL"):
        monkeypatch.setenv(f"RANKER_{name}", shop.tag if name == "MODEL" else "test-next:1")
    with temporary_model_store(Path(shop.environment["BENTOML_HOME"]) / "models"):
        service = import_service()
        service.Runner.inject_config()
        stored = bentoml.models.get(shop.tag)
    models = {"score": (ONNX, SCHEMA), "score_canary": (NEXT_ONNX, NEXT), "score_shadow": (NEXT_ONNX, NEXT)}

    async def test() -> None:
        proxy: RemoteProxy[object] = RemoteProxy(runner_url(rolling_out), service=service.Runner)
        async with proxy.to_async as runner:
            for method, (onnx, schema) in models.items():
                matrix = RANDOM.normal(size=(7, schema.width)).astype(np.float32)
                for wrong in (matrix[:, 1:], matrix.astype(np.float64), matrix[:, :, np.newaxis]):
                    with pytest.raises(BentoMLException) as refused:
                        await runner.call(method, wrong)
                    assert refused.value.error_code == 422
                scores = await runner.call(method, matrix)
                assert (scores.shape, scores.dtype) == ((7,), np.float32)
                assert scores == pytest.approx(OnnxModel(onnx, schema).score(matrix), abs=1e-6)
            score = WaysToScores(Settings(), None, lambda: runner).served("model", stored).score
            matrix = np.ones((7, SCHEMA.width), np.float32)
            assert (await score(matrix)).shape == (7,)
            with pytest.raises(ModelFailed) as told:  # as of a runner on this machine
                await score(matrix[:, 1:])
            reason = f"The float32 matrix has shape (7, {SCHEMA.width - 1}); expected (n, {SCHEMA.width}) of float32"
            assert str(told.value) == str(ModelFailed(7, reason))

    run(test, seconds=60)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"RANKER_CANARY_MODEL": "nowhere:1"}, "nowhere:1 is not in the Bento model store"),
        ({"RANKER_SHADOW_PERCENT": "5"}, "RANKER_SHADOW_PERCENT needs RANKER_SHADOW_MODEL"),
        ({"RANKER_CANARY_MODEL": "same-keys:1"}, "reads other user features under the same keys user:{id}"),
    ],
)
def test_rollout_that_cannot_be_served_is_refused_at_the_start(shop: Shop, change: dict[str, str], said: str) -> None:
    schema = FeatureSchema.from_mapping({"user": {"features": ["x"]}, "product": {"features": ["y"]}})
    import_model(Path(shop.environment["BENTOML_HOME"]).parent, mlp_onnx(2), schema, "same-keys")
    code, output = start(shop.environment | change)
    assert code != 0
    assert said in output
    assert "Traceback" not in output
