"""A model of two outputs and a formula, served: explanations show each output beside the score, in both modes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
from onnx import helper
from playwright.sync_api import Browser, expect

from ranker.scoring.registry import find_model, is_split
from ranker.vectors.schema import FeatureSchema
from tests.service.conftest import SCHEMA, Served, Shop, import_model, serve, stock
from tests.support.chromium import NEEDS_CHROMIUM, browser, sound_page
from tests.support.models import onnx_bytes, temporary_model_store, tensor

__all__ = ["browser"]

TWO_HEADS = FeatureSchema.from_mapping(SCHEMA.to_metadata() | {"score": "ctr * cvr"})
HIDDEN = 256
IDS = [str(i) for i in range(20)]


def two_heads() -> bytes:
    """A tower of the user, a deeper one of the product, and two heads on both."""
    chance = np.random.default_rng(4)
    shapes = {
        "wu": (SCHEMA.user.width, HIDDEN),
        "wp": (SCHEMA.product.width, HIDDEN),
        "deep": (HIDDEN, HIDDEN),
        "to_ctr": (HIDDEN, 1),
        "to_cvr": (HIDDEN, 1),
    }
    constants = {name: chance.normal(size=shape).astype(np.float32) / 8 for name, shape in shapes.items()}
    nodes = [
        helper.make_node("MatMul", ["user", "wu"], ["u"]),
        helper.make_node("MatMul", ["product", "wp"], ["p"]),
        helper.make_node("Tanh", ["p"], ["tanh"]),
        helper.make_node("MatMul", ["tanh", "deep"], ["q"]),
        helper.make_node("Tanh", ["q"], ["deeper"]),
        helper.make_node("Mul", ["u", "deeper"], ["t"]),
    ]
    for head in ("ctr", "cvr"):
        nodes.append(helper.make_node("MatMul", ["t", f"to_{head}"], [f"{head}_logit"]))
        nodes.append(helper.make_node("Sigmoid", [f"{head}_logit"], [head]))
    outputs = [tensor("ctr", ["n", 1]), tensor("cvr", ["n", 1])]
    inputs = [tensor("user", ["n", SCHEMA.user.width]), tensor("product", ["n", SCHEMA.product.width])]
    return onnx_bytes(nodes, inputs, outputs, constants)


@pytest.fixture(scope="module", params=["service", "local"])
def served(
    request: pytest.FixtureRequest, shop: Shop, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    home = Path(shop.environment["BENTOML_HOME"])
    tag = import_model(home.parent, two_heads(), TWO_HEADS, f"two-heads-{request.param}")
    with temporary_model_store(home / "models"):
        assert is_split(find_model(tag))  # the pair part gives the score alone
    stock(shop, redis_url)
    log = tmp_path_factory.mktemp("two-heads") / "log"
    more = {"RANKER_MODEL": tag, "RANKER_RUNNER": request.param, "RANKER_DEADLINE_MS": "10000"}
    with serve(shop.environment | more, log) as running:
        yield running
    text = log.read_text()
    assert "Traceback" not in text, text[-4000:]


def explain(served: Served) -> dict[str, Any]:
    body = {"requestId": "r", "userId": "3", "productIds": IDS}
    response = httpx.post(f"{served.url}/explain", json=body, timeout=20)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_each_output_is_shown_beside_the_score(served: Served, shop: Shop) -> None:
    answer = explain(served)
    assert answer["failure"] is None
    ids = [int(product["id"]) for product in answer["products"]]
    rows = {"user": np.repeat(shop.users[3:4], len(ids), axis=0), "product": shop.products[ids]}
    ctr, cvr = onnxruntime.InferenceSession(two_heads()).run(["ctr", "cvr"], rows)
    for i, product in enumerate(answer["products"]):
        assert product["outputs"] == pytest.approx({"ctr": ctr[i, 0], "cvr": cvr[i, 0]}, abs=1e-6)
        assert product["outputs"]["ctr"] * product["outputs"]["cvr"] == pytest.approx(product["score"], abs=1e-5)


@NEEDS_CHROMIUM
def test_playground_shows_what_the_model_gave(browser: Browser, served: Served) -> None:
    with sound_page(browser) as page:
        page.goto(f"{served.url}/play")
        expect(page.locator("#origin")).to_contain_text(re.compile(r"The model gave ctr 0\.\d+, cvr 0\.\d+\."))
