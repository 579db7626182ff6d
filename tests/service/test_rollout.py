"""A new model beside the old one, served: a canary for half of the users, a shadow for all requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from redis import Redis

from ranker.canary import Split
from ranker.encoding import encode
from ranker.model import OnnxModel
from ranker.schema import FeatureSchema
from tests.models import mlp_onnx
from tests.service.conftest import PRODUCTS, USERS, Served, Shop, import_model, serve, stock
from tests.service.test_startup import start

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


@pytest.fixture(scope="module", params=["service", "local"])
def rolling_out(
    request: pytest.FixtureRequest, shop: Shop, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    home = Path(shop.environment["BENTOML_HOME"]).parent
    tag = import_model(home, NEXT_ONNX, NEXT, "test-next")
    stock(shop, redis_url)
    with Redis.from_url(redis_url) as client:
        client.mset({f"v2:user:{i}": row.tobytes() for i, row in enumerate(NEXT_USERS)})
        client.mset({f"v2:product:{i}": v for i, v in enumerate(encode(NEXT_PRODUCTS, NEXT.fingerprint))})
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
    assert "Traceback" not in log.read_text()


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
        if model == shop.tag:
            expected = shop.scores(str(user), IDS)
        else:
            rows = np.hstack([np.tile(NEXT_USERS[user], (len(IDS), 1)), NEXT_PRODUCTS[: len(IDS)]])
            expected = OnnxModel(NEXT_ONNX, NEXT).score(rows)
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
