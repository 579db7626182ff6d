"""Typed features, served: from files in Redis and values in a request to the scores of the graph's own inputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from redis import Redis

from ranker import FeatureWriter
from ranker.vectors.schema import FeatureSchema
from tests.service import served_log
from tests.service.conftest import Served, Shop, import_model, serve
from tests.support.models import onnx_bytes, tensor

BRANDS = ["nike", "puma", "asics"]
IDS = 500
CODES: dict[str, Any] = {"keys_strings": BRANDS, "values_int64s": [0, 1, 2]}
SCHEMA = FeatureSchema.from_mapping(
    {
        "user": {
            "key": "typed:user:{id}",
            "features": [{"name": "taste", "shape": [4]}, {"name": "viewed", "type": "product", "length": 3}],
        },
        "product": {
            "key": "typed:product:{id}",
            "features": [
                {"name": "item_id", "type": "int64"},
                {"name": "brand", "type": "category", "vocabulary": BRANDS},
                {"name": "image", "type": "float16", "shape": [4]},
            ],
        },
        "context": {"features": [{"name": "now", "type": "int64"}]},
        "productContext": {"features": [{"name": "shelf", "type": "category", "vocabulary": ["a", "b"], "unknown": 0}]},
    }
)
RANDOM = np.random.default_rng(5)
TABLE = RANDOM.normal(size=IDS).astype(np.float32)
SIZES = RANDOM.normal(size=(3, 1)).astype(np.float32)
NOW = 1_790_000_001
PRODUCTS: list[dict[str, Any]] = [
    {"item_id": i, "brand": BRANDS[i % 3], "image": RANDOM.normal(size=4).astype(np.float16).tolist()}
    for i in range(20)
]
USER: dict[str, Any] = {"taste": [0.5, -1.0, 2.0, 0.25], "viewed": [7, 3]}


def graph() -> bytes:
    """Scores of a table by id, of one by brand, of user · image, of the history, and of the time's last digit."""
    nodes = [
        helper.make_node("Gather", ["table", "item_id"], ["by_id"]),
        helper.make_node("LabelEncoder", ["brand"], ["code"], domain="ai.onnx.ml", **CODES),
        helper.make_node("Gather", ["sizes", "code"], ["by_brand_"]),
        helper.make_node("Reshape", ["by_brand_", "column"], ["by_brand"]),
        helper.make_node("Mul", ["taste", "image"], ["products"]),
        helper.make_node("ReduceSum", ["products", "axis"], ["similar"], keepdims=1),
        helper.make_node("Gather", ["table", "viewed"], ["seen"]),
        helper.make_node("Cast", ["viewed_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["seen", "mask"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "axis"], ["history"], keepdims=1),
        helper.make_node("Mod", ["now", "ten"], ["digit_"]),
        helper.make_node("Cast", ["digit_"], ["digit"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["shelf"], ["place"], to=TensorProto.FLOAT),
        helper.make_node("Sum", ["by_id", "by_brand", "similar", "history", "digit", "place"], ["scores"]),
    ]
    whole, text = TensorProto.INT64, TensorProto.STRING
    inputs = [
        tensor("taste", ["n", 4]),
        tensor("viewed", ["n", 3], whole),
        tensor("viewed_mask", ["n", 3], TensorProto.BOOL),
        tensor("item_id", ["n", 1], whole),
        tensor("brand", ["n", 1], text),
        tensor("image", ["n", 4]),
        tensor("now", ["n", 1], whole),
        tensor("shelf", ["n", 1], whole),
    ]
    constants = {
        "table": TABLE,
        "sizes": SIZES,
        "axis": np.array([1]),
        "ten": np.array(10),
        "column": np.array([-1, 1]),
    }
    return onnx_bytes(nodes, inputs, [tensor("scores", ["n", 1])], constants)


def expected(products: list[dict[str, Any]], shelves: list[int]) -> np.ndarray:
    """Score as the trainer would: the graph as it was exported, given its own inputs."""
    n = len(products)
    viewed = [*USER["viewed"], 0]
    given = {
        "taste": np.tile(np.float32(USER["taste"]), (n, 1)),
        "viewed": np.tile(np.int64(viewed), (n, 1)),
        "viewed_mask": np.tile([True, True, False], (n, 1)),
        "item_id": np.array([[p["item_id"]] for p in products]),
        "brand": np.array([[p["brand"]] for p in products], dtype=object),
        "image": np.array([p["image"] for p in products], dtype=np.float32),
        "now": np.full((n, 1), NOW),
        "shelf": np.array(shelves)[:, np.newaxis],
    }
    session = onnxruntime.InferenceSession(graph())
    (scores,) = session.run(None, given)
    return np.asarray(scores)[:, 0]


@pytest.fixture(scope="module")
def tag(shop: Shop) -> str:
    return import_model(Path(shop.environment["BENTOML_HOME"]).parent, graph(), SCHEMA, "typed")


@pytest.fixture(scope="module", params=["service", "local"])
def served(
    request: pytest.FixtureRequest, shop: Shop, tag: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("served")
    with FeatureWriter(redis_url, SCHEMA) as writer:
        writer.write_users(["u"], frame([USER]))
        writer.write_products([str(p["item_id"]) for p in PRODUCTS], frame(PRODUCTS))
        writer.write_products(["bad"], frame([PRODUCTS[0] | {"item_id": IDS}]))
    settings = {"RANKER_MODEL": tag, "RANKER_RUNNER": request.param, "RANKER_MISSING_PRODUCT": "last"}
    settings |= {"RANKER_FEATURE_LOG": str(home / "features"), "RANKER_FEATURE_LOG_PERCENT": "100"}
    with serve(shop.environment | settings, home / "log") as running:
        yield running


def frame(rows: list[dict[str, Any]]) -> Any:
    import pandas as pd

    return pd.DataFrame(rows)


def predict(served: Served, path: str = "/predict", **more: Any) -> dict[str, Any]:
    ids = [str(p["item_id"]) for p in PRODUCTS]
    body: dict[str, Any] = {"requestId": "r", "userId": "u", "productIds": ids, "context": {"now": NOW}}
    body["productContext"] = {"shelf": ["a", "b"] * 10}
    response = httpx.post(f"{served.url}{path}", json=body | more, timeout=30)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_typed_features_are_scored_as_the_exported_graph_does(served: Served) -> None:
    answer = predict(served)
    assert (answer["degradedReason"], answer["missing"], answer["missingUser"]) == (None, [], False)
    of = dict(zip(answer["ranking"], answer["scores"], strict=True))
    scores = expected(PRODUCTS, [0, 1] * 10)
    assert [of[str(p["item_id"])] for p in PRODUCTS] == pytest.approx(scores.tolist(), abs=1e-5)
    assert answer["ranking"] == [str(i) for i in np.argsort(-scores, kind="stable").tolist()]

    explained = predict(served, "/explain")
    first = explained["products"][0]
    assert first["features"] == PRODUCTS[int(first["id"])]
    assert explained["user"]["features"] == USER
    assert explained["context"] == {"now": NOW}
    assert set(first["contributions"]["product"]) == {"item_id", "brand", "image"}


def test_id_that_no_table_holds_costs_its_own_product_alone(served: Served) -> None:
    ids = [str(p["item_id"]) for p in PRODUCTS]
    answer = predict(served, productIds=[*ids[:3], "bad", *ids[3:]], productContext={"shelf": ["a"] * 21})
    assert (answer["degradedReason"], answer["missing"]) == (None, ["bad"])
    of = dict(zip(answer["ranking"], answer["scores"], strict=True))
    scores = expected(PRODUCTS, [0] * 20)
    assert [of[i] for i in ids] == pytest.approx(scores.tolist(), abs=1e-5)
    assert answer["ranking"][-1] == "bad"
    assert "1 product vector(s) of one request count as missing (corrupt)" in served.log.read_text()


def test_typed_value_of_a_request_is_refused_by_name(served: Served) -> None:
    body = {"requestId": "r", "userId": "u", "productIds": ["1"], "context": {"now": 1.5}}
    response = httpx.post(f"{served.url}/predict", json=body, timeout=30)
    assert response.status_code == 400
    assert "context.now: Input should be int64: 1.5 is no whole number" in response.json()["error"]


def test_what_was_served_replays_once_the_service_has_ended(served: Served, shop: Shop) -> None:
    predict(served)
    served.process.terminate()
    served.process.wait(30)
    replayed = served_log.replay(shop, served.log.parent / "features")
    assert replayed.exit_code == 0, replayed.output


def test_stored_vectors_are_records(redis_client: Redis, redis_url: str) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer:
        writer.write_products(["1"], frame([PRODUCTS[1]]))
    stored = redis_client.get("typed:product:1")
    assert isinstance(stored, bytes)
    assert (stored[:4], len(stored)) == (b"RV\x02\x00", 8 + 8 + 4 + 8)
