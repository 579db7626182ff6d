"""Groups under keys of their own, served: what they hold in Redis is scored, shown, counted, logged and replayed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from onnx import helper
from redis import Redis

from ranker.cli.log import log
from ranker.vectors.schema import FeatureSchema
from tests.service.conftest import Served, Shop, import_model, serve
from tests.support.groups import DATA, fill
from tests.support.models import onnx_bytes, temporary_model_store, tensor

COLUMNS = ["price", "rating", "user_live.clicks_1h", "position", "ctr_30d", "tier", "shop.open", "left", "age", "hour"]
WEIGHTS = np.array([1, 10, 100, 0.5, 1000, 3, 7, 11, 0.25, 2], np.float32)
SCHEMA = FeatureSchema.from_mapping(
    DATA
    | {
        "user": DATA["user"] | {"key": "grouped:user:{id}"},
        "product": DATA["product"] | {"key": "grouped:product:{id}"},
        "columns": COLUMNS,
    }
)
KNOWN = {
    "a": {"price": 1, "rating": 4.5, "tier": 0, "ctr_30d": 0.25, "left": 9},
    "b": {"price": 2, "rating": 0, "tier": 1, "ctr_30d": 0.5, "left": 0},
    "c": {"price": 3, "rating": 4.5, "tier": 0, "ctr_30d": 0.25, "left": 0},
}
"""What is stored for each product, and the defaults where nothing is."""


def score(product: str, **more: float) -> float:
    row = {"user_live.clicks_1h": 5, "shop.open": 1, "age": 30, "position": 0, "hour": 0} | KNOWN[product] | more
    return float(np.float32([row[name] for name in COLUMNS]) @ WEIGHTS)


@pytest.fixture(scope="module")
def tag(shop: Shop) -> str:
    node = helper.make_node("MatMul", ["x", "weights"], ["scores"])
    graph = onnx_bytes(
        [node], [tensor("x", ["n", len(COLUMNS)])], [tensor("scores", ["n", 1])], {"weights": WEIGHTS[:, np.newaxis]}
    )
    return import_model(Path(shop.environment["BENTOML_HOME"]).parent, graph, SCHEMA, "grouped")


@pytest.fixture
def served(shop: Shop, tag: str, redis_url: str, redis_client: Redis, tmp_path: Path) -> Iterator[Served]:
    fill(redis_client, redis_url, SCHEMA)
    settings = {"RANKER_MODEL": tag, "RANKER_RUNNER": "local", "RANKER_FEATURE_LOG": str(tmp_path / "features")}
    with serve(shop.environment | settings | {"RANKER_FEATURE_LOG_PERCENT": "100"}, tmp_path / "log") as running:
        yield running


def post(served: Served, path: str = "/predict", **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"requestId": "r", "userId": "u", "productIds": ["a", "b", "c"]}
    response = httpx.post(f"{served.url}{path}", json=body | more, timeout=30)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_groups_are_scored_shown_counted_and_replayed(
    served: Served, shop: Shop, redis_client: Redis, tmp_path: Path
) -> None:
    for _ in range(2):  # read, then from memory
        answer = post(served, productContext={"position": [1, 2, 3]}, context={"hour": 4})
        of = dict(zip(answer["ranking"], answer["scores"], strict=True))
        expected = {p: score(p, position=i + 1, hour=4) for i, p in enumerate("abc")}
        assert of == pytest.approx(expected)
        assert answer["ranking"] == sorted(expected, key=lambda p: -expected[p])
        assert answer["missing"] == []
    elsewhere = post(served, context={"store": "other"})
    assert dict(zip(elsewhere["ranking"], elsewhere["scores"], strict=True)) == pytest.approx(
        {p: score(p, **{"shop.open": 0}) for p in "abc"}
    )

    explained = post(served, "/explain")
    assert explained["groups"]["user_live"] == {
        "source": "stored",
        "reason": None,
        "features": {"clicks_1h": 5.0, "carts_1h": 2.0},
    }
    products = {product["id"]: product for product in explained["products"]}
    assert products["a"]["groups"]["seller"]["features"] == {"rating": 4.5, "tier": "a"}
    assert products["b"]["groups"]["seller"] == {
        "source": "default",
        "reason": "missing",
        "features": {"rating": 0.0, "tier": "b"},
    }
    assert products["a"]["contributions"]["groups"]["seller"]["rating"] == pytest.approx(45)

    counted = httpx.get(f"{served.url}/metrics", timeout=30).text
    assert 'ranker_unusable_rows_total{entity="seller",reason="missing"}' in counted

    served.process.terminate()
    served.process.wait(30)
    with temporary_model_store(Path(shop.environment["BENTOML_HOME"]) / "models"):
        replayed = CliRunner().invoke(log, ["replay", str(tmp_path / "features")])
    assert replayed.exit_code == 0, replayed.output


def test_change_of_a_groups_key_is_seen_at_once(served: Served, redis_client: Redis) -> None:
    import time

    def left_of_a() -> float:
        answer = post(served)
        scores = dict(zip(answer["ranking"], answer["scores"], strict=True))
        return round((scores["a"] - score("a", left=0)) / 11)

    assert left_of_a() == 9
    redis_client.hset("stock:a", "left", "4")
    deadline = time.monotonic() + 10
    while left_of_a() != 4:
        assert time.monotonic() < deadline
