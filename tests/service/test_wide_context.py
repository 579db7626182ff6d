"""Vectors that requests bring for each product: a body that the schema makes large is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import helper

from ranker.vectors.schema import FeatureSchema
from tests.service.conftest import Shop, import_model, serve
from tests.support.models import onnx_bytes, tensor

SIZE, PRODUCTS = 320, 100
SCHEMA = FeatureSchema.from_mapping(
    {
        "product": {"features": ["price"]},
        "productContext": {"features": [{"name": "query", "shape": [SIZE]}, {"name": "image", "shape": [SIZE]}]},
    }
)
WEIGHTS = np.random.default_rng(3).normal(size=1 + 2 * SIZE).astype(np.float32)


def test_body_of_wide_vectors_is_ranked(shop: Shop, tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "weights"], ["scores"])
    inputs, outputs = [tensor("x", ["n", len(WEIGHTS)])], [tensor("scores", ["n", 1])]
    graph = onnx_bytes([node], inputs, outputs, {"weights": WEIGHTS[:, np.newaxis]})
    tag = import_model(Path(shop.environment["BENTOML_HOME"]).parent, graph, SCHEMA, "wide")
    settings = {"RANKER_MODEL": tag, "RANKER_RUNNER": "local"}
    vectors = np.random.default_rng(4).normal(size=(2, PRODUCTS, SIZE))
    body: dict[str, Any] = {"requestId": "r", "productIds": [f"p{i}" for i in range(PRODUCTS)]}
    body["productContext"] = {"query": vectors[0].tolist(), "image": vectors[1].tolist()}
    with serve(shop.environment | settings, tmp_path / "log") as running:
        response = httpx.post(f"{running.url}/predict", json=body, timeout=30)
    assert len(response.request.content) > 1 << 20
    answer = response.json()
    of = dict(zip(answer["ranking"], answer["scores"], strict=True))
    rows = np.concatenate([np.zeros((PRODUCTS, 1)), vectors[0], vectors[1]], axis=1).astype(np.float32)
    assert [of[i] for i in body["productIds"]] == pytest.approx((rows @ WEIGHTS).tolist(), abs=1e-4)
