"""Side information of a history, served whole and in parts: scored, shown, logged, replayed, and true to changes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pandas as pd
import pytest
from click.testing import CliRunner
from onnx import helper
from redis import Redis

from ranker import FeatureWriter
from ranker.cli.features.group import features
from ranker.cli.log import log
from ranker.cli.rank import rank
from ranker.scoring.registry import find_model, is_split
from ranker.training.log import read_feature_log
from ranker.training.model import Model
from ranker.vectors.schema import FeatureSchema
from tests.service.conftest import Served, Shop, import_model, serve
from tests.support.models import onnx_bytes, temporary_model_store, tensor

LENGTH, STYLE = 4, 2
SCHEMA = FeatureSchema.from_mapping(
    {
        "user": {
            "key": "side:user:{id}",
            "features": ["age", {"name": "viewed", "type": "product", "length": LENGTH}],
        },
        "product": {
            "key": "side:product:{id}",
            "features": ["price", {"name": "style", "shape": [STYLE], "default": 0.5}],
        },
        "columns": ["price", "style", "viewed.style", "age"],
    }
)
AGE = 0.25
WIDTH = 1 + STYLE + LENGTH * STYLE + 1
PRODUCTS = {str(i): (float(i), [i / 8, -i / 4]) for i in range(1, 8)}
HISTORIES: dict[str, list[int]] = {"u": [7, 99, 5], "v": [1], "w": []}
"""What each user saw; 99 is no product."""


def graph(name: str) -> bytes:
    """A small graph, which stays whole, or one with a wide tower of the product's, which is served in parts."""
    random = np.random.default_rng(3)
    columns = {"product": [0, 1, 2], "request": list(range(1 + STYLE, WIDTH))}
    inner = 512 if name == "parts" else 16
    shapes = {"w1": (3, inner), "w2": (inner, inner), "w3": (inner, 8), "v": (len(columns["request"]), 8)}
    constants = {
        key: (random.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32) for key, shape in shapes.items()
    }
    constants |= {side: np.array(at) for side, at in columns.items()} | {"axis": np.array([1])}
    nodes = [
        helper.make_node("Gather", ["x", "product"], ["p0"], axis=1),
        helper.make_node("MatMul", ["p0", "w1"], ["p1"]),
        helper.make_node("Relu", ["p1"], ["p2"]),
        helper.make_node("MatMul", ["p2", "w2"], ["p3"]),
        helper.make_node("Relu", ["p3"], ["p4"]),
        helper.make_node("MatMul", ["p4", "w3"], ["of_product"]),
        helper.make_node("Gather", ["x", "request"], ["r0"], axis=1),
        helper.make_node("MatMul", ["r0", "v"], ["r1"]),
        helper.make_node("Tanh", ["r1"], ["of_request"]),
        helper.make_node("Mul", ["of_product", "of_request"], ["both"]),
        helper.make_node("ReduceSum", ["both", "axis"], ["scores"], keepdims=0),
    ]
    return onnx_bytes(nodes, [tensor("x", ["n", WIDTH])], [tensor("scores", ["n"])], constants)


@pytest.fixture(scope="module", params=[("whole", "local"), ("parts", "local"), ("parts", "service")], ids="-".join)
def form(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param
    return found


@pytest.fixture(scope="module")
def tag(form: tuple[str, str], shop: Shop) -> str:
    home = Path(shop.environment["BENTOML_HOME"]).parent
    name, in_parts = f"side-{form[0]}-{form[1]}", form[0] == "parts"
    tag = import_model(home, graph(form[0]), SCHEMA, name, split=in_parts)  # what it would gain is near the threshold
    with temporary_model_store(home / "bentoml" / "models"):
        assert is_split(find_model(tag)) == in_parts
    return tag


@pytest.fixture
def served(
    form: tuple[str, str], shop: Shop, tag: str, redis_url: str, redis_client: Redis, tmp_path: Path
) -> Iterator[Served]:
    redis_client.flushall()
    with FeatureWriter(redis_url, SCHEMA) as writer:
        writer.write_users(list(HISTORIES), pd.DataFrame({"age": [AGE] * 3, "viewed": list(HISTORIES.values())}))
        prices, styles = zip(*PRODUCTS.values(), strict=True)
        writer.write_products(list(PRODUCTS), pd.DataFrame({"price": prices, "style": styles}))
    settings = {"RANKER_MODEL": tag, "RANKER_RUNNER": form[1], "RANKER_FEATURE_LOG": str(tmp_path / "features")}
    with serve(shop.environment | settings | {"RANKER_FEATURE_LOG_PERCENT": "100"}, tmp_path / "log") as running:
        yield running


def expected(
    form: tuple[str, str], user: str | None, ids: list[str], products: dict[str, tuple[float, list[float]]]
) -> list[float]:
    """Score with the exported graph itself."""
    history = [products.get(str(i), (0.0, [0.5, 0.5]))[1] for i in HISTORIES.get(user or "", [])]
    seen = np.zeros((LENGTH, STYLE))
    seen[: len(history)] = np.reshape(history, (-1, STYLE))
    age = AGE if user in HISTORIES else 0.0
    rows = [[products[i][0], *products[i][1], *seen.ravel(), age] for i in ids]
    (scores,) = onnxruntime.InferenceSession(graph(form[0])).run(None, {"x": np.array(rows, np.float32)})
    return [float(score) for score in scores]


def post(served: Served, path: str = "/predict", **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"requestId": "r", "userId": "u", "productIds": ["1", "2", "3"]}
    response = httpx.post(f"{served.url}{path}", json=body | more, timeout=30)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def check(served: Served, form: tuple[str, str], user: str | None, ids: list[str], **products: Any) -> bool:
    answer = post(served, userId=user, productIds=ids)
    of = dict(zip(answer["ranking"], answer["scores"], strict=True))
    wanted = expected(form, user, ids, PRODUCTS | products)
    return [of[i] for i in ids] == pytest.approx(wanted, rel=1e-5, abs=1e-5)


def test_history_is_scored_with_what_is_known_of_its_products_and_follows_their_changes(
    form: tuple[str, str], served: Served, redis_url: str
) -> None:
    for _ in range(2):  # read, then from memory
        for user in (*HISTORIES, "unknown", None):
            assert check(served, form, user, ["1", "2", "3"]), user
    # Product 5 is in the history of u, and none of the candidates.
    changed = {"5": (5.0, [-3.0, 2.0])}
    with FeatureWriter(redis_url, SCHEMA) as writer:
        writer.write_products(["5"], pd.DataFrame({"price": [5.0], "style": [changed["5"][1]]}))
    deadline = time.monotonic() + 20
    while not check(served, form, "u", ["1", "2", "3"], **changed):
        assert time.monotonic() < deadline
    assert check(served, form, "v", ["5", "2"], **changed)


def test_tools_know_it_as_the_service_does(
    form: tuple[str, str], served: Served, shop: Shop, tag: str, redis_url: str, tmp_path: Path
) -> None:
    explained = post(served, "/explain")
    styles = [PRODUCTS["7"][1], [0.5, 0.5], PRODUCTS["5"][1]]
    assert explained["groups"] == {"viewed": {"source": "stored", "reason": None, "features": {"style": styles}}}
    without = dict(zip("123", expected(form, "w", ["1", "2", "3"], PRODUCTS), strict=True))
    for product in explained["products"]:
        added = product["contributions"]["groups"]["viewed"]["style"]
        assert abs(added) > 1e-3
        assert added == pytest.approx(product["score"] - without[product["id"]], abs=1e-4)

    asked = [{"requestId": "r", "userId": user, "productIds": ["1", "2", "3"]} for user in ("u", "v", None)]
    (tmp_path / "requests.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in asked))
    answers = [post(served, **one) for one in asked]
    users = [{"id": user, "age": AGE, "viewed": history} for user, history in HISTORIES.items()]
    products = [{"id": i, "price": price, "style": style} for i, (price, style) in PRODUCTS.items()]
    for name, lines in (("users", users), ("products", products)):
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in lines))
    files = ["--users", str(tmp_path / "users.jsonl"), "--products", str(tmp_path / "products.jsonl")]
    frame = pd.DataFrame(products)
    with temporary_model_store(Path(shop.environment["BENTOML_HOME"]) / "models"):
        runner = CliRunner(env={"RANKER_REDIS_URL": redis_url})
        ranked = runner.invoke(rank, [str(tmp_path / "requests.jsonl"), "--model", tag])
        of_files = runner.invoke(rank, [str(tmp_path / "requests.jsonl"), "--model", tag, *files])
        verified = runner.invoke(features, ["verify", "--model", tag, *files, "--service", served.url])
        model = Model.load(tag)
        offline = model.rank(users[0], frame[:3], groups={"viewed": frame[3:]})
        lacking = model.rank(users[0], frame[:3])
    for done in (ranked, of_files):
        again = [*map(json.loads, done.stdout.splitlines())]
        assert [one["ranking"] for one in again] == [one["ranking"] for one in answers], done.output
        for one, answer in zip(again, answers, strict=True):
            assert one["scores"] == pytest.approx(answer["scores"], rel=1e-6)
    assert verified.exit_code == 0, verified.output
    assert "served scores equal those computed here" in " ".join(verified.output.split())
    assert offline.ids == answers[0]["ranking"]
    assert offline.scores.tolist() == pytest.approx(answers[0]["scores"], rel=1e-6)
    assert lacking.scores.tolist() != pytest.approx(answers[0]["scores"], rel=1e-6)

    served.process.terminate()
    served.process.wait(30)
    with temporary_model_store(Path(shop.environment["BENTOML_HOME"]) / "models"):
        replayed = CliRunner().invoke(log, ["replay", str(tmp_path / "features")])
        logged = read_feature_log(tmp_path / "features")
        scores = Model.load(tag).score(logged)
    assert replayed.exit_code == 0, replayed.output
    assert logged["viewed.style"][0] == styles
    np.testing.assert_allclose(scores, logged["score"], rtol=1e-6)
