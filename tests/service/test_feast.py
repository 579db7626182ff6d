"""Features that Feast wrote, served: a request is ranked by what is in its online store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import helper
from redis import Redis

from ranker.demo.servers import wait_for
from ranker.vectors.schema import FeatureSchema
from tests.service.conftest import Served, Shop, import_model, serve
from tests.support.feast_store import DATA, KEYS, fill
from tests.support.models import onnx_bytes, tensor

COLUMNS = ["price", "stock", "seller.rating", "spend", "taste"]
WEIGHTS = np.array([1, 10, 100, 0.5, 3, 7], np.float32)


@pytest.fixture
def served(shop: Shop, redis_client: Redis, tmp_path: Path) -> Iterator[Served]:
    node = helper.make_node("MatMul", ["x", "weights"], ["scores"])
    inputs, outputs = [tensor("x", ["n", len(WEIGHTS)])], [tensor("scores", ["n", 1])]
    graph = onnx_bytes([node], inputs, outputs, {"weights": WEIGHTS[:, np.newaxis]})
    schema = FeatureSchema.from_mapping(DATA | {"columns": COLUMNS})
    tag = import_model(Path(shop.environment["BENTOML_HOME"]).parent, graph, schema, "feast")
    fill(redis_client)
    settings = {"RANKER_MODEL": tag, "RANKER_RUNNER": "local"}
    with serve(shop.environment | settings, tmp_path / "log") as running:
        yield running


def test_request_is_ranked_by_what_feast_wrote(served: Served) -> None:
    body: dict[str, Any] = {"requestId": "r", "userId": "u", "productIds": ["-2", "1", "5", str(1 << 40)]}
    body["context"] = {"seller": 7}
    for _ in range(2):  # read, then from memory
        answer = httpx.post(f"{served.url}/predict", json=body, timeout=30).json()
        assert answer["missing"] == ["5"]
        of = dict(zip(answer["ranking"], answer["scores"], strict=True))
        products = {"-2": [0.0, 2.0], "1": [9.5, 1.0], "5": [0.0, 7.0], str(1 << 40): [3.0, 7.0]}
        expected = {i: float(np.float32([*row, 4.5, 12.25, 0.5, -1.0]) @ WEIGHTS) for i, row in products.items()}
        assert of == pytest.approx(expected)
    explained = httpx.post(f"{served.url}/explain", json=body, timeout=30).json()
    assert explained["user"]["features"]["city"] == "Köln"
    assert explained["groups"]["seller"]["features"] == {"rating": 4.5}


def test_age_since_feast_last_wrote_is_measured(served: Served, redis_client: Redis) -> None:
    httpx.post(f"{served.url}/predict", json={"userId": "u", "productIds": ["1"]}, timeout=30)

    def ages() -> dict[str, str]:
        lines = httpx.get(f"{served.url}/metrics", timeout=30).text.splitlines()
        return dict(re.findall(r'^ranker_feature_age_seconds\{entity="(\w+)"\} (.*)$', "\n".join(lines), re.MULTILINE))

    assert ages() == {}
    for key, fields in KEYS.items():  # as a materialisation does
        mapping = {bytes.fromhex(field): bytes.fromhex(value) for field, value in fields.items()}
        redis_client.hset(bytes.fromhex(key), mapping=mapping)  # type: ignore[arg-type]  # bytes are fields, too
    wait_for(lambda: {"user", "product"} <= ages().keys(), 20)
    assert all(0 <= float(age) < 30 for age in ages().values())
