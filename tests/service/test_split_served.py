"""A split model, served for real: in one process, and by API workers beside a runner service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from redis import Redis

from ranker.scoring.registry import store_model
from ranker.scoring.split.files import SplitChoice
from ranker.scoring.split.note import Note
from ranker.vectors.stored.encoding import encode
from tests.service.conftest import ONNX, PRODUCTS, SCHEMA, Served, Shop, serve, stock
from tests.support.models import temporary_model_store
from tests.support.splits import cut_mlp

LONG = {"RANKER_MAX_BATCH_ROWS": "64"}
"""So that lists of more products go to the model in pieces."""


@pytest.fixture(scope="module", params=["service", "local"])
def in_parts(
    request: pytest.FixtureRequest, shop: Shop, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    cut = cut_mlp(SCHEMA, hidden=32)
    assert cut.whole == ONNX  # the shop's model, whose scores it knows
    with temporary_model_store(Path(shop.environment["BENTOML_HOME"]) / "models"):
        tag, _ = store_model(ONNX, SCHEMA, "test-split", "1", split=SplitChoice(Note(rows=1), cut.parts))
    stock(shop, redis_url)
    log = tmp_path_factory.mktemp("split") / "log"
    env = shop.environment | LONG | {"RANKER_MODEL": tag, "RANKER_RUNNER": request.param}
    with serve(env, log) as running:
        yield running
    text = log.read_text()
    assert "Traceback" not in text, text[-4000:]


def predict(served: Served, shop: Shop, user: str, ids: list[str]) -> None:
    """Rank, and refuse what the whole graph does not give."""
    body = {"requestId": "r", "userId": user, "productIds": ids}
    response = httpx.post(f"{served.url}/predict", json=body, timeout=20)
    answer = response.json()
    assert response.status_code == 200, answer
    expected = shop.scores(user, ids)
    order = np.argsort(-expected, kind="stable")
    assert answer["scores"] == pytest.approx(expected[order].tolist(), abs=1e-5)
    scores = dict(zip(ids, expected.tolist(), strict=True))
    assert [scores[name] for name in answer["ranking"]] == pytest.approx(answer["scores"], abs=1e-5)
    assert (answer["degraded"], answer["missingUser"]) == (False, not user.isdigit())
    assert answer["missing"] == [name for name in ids if not name.isdigit()]
    assert response.headers["x-ranker-model"] == "test-split:1"


def metric(served: Served, name: str) -> float:
    lines = httpx.get(f"{served.url}/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def test_rankings_are_the_whole_graphs(in_parts: Served, shop: Shop) -> None:
    everything = [str(i) for i in range(PRODUCTS)]
    for _ in range(2):
        predict(in_parts, shop, "3", everything[:100])
        predict(in_parts, shop, "4", ["unknown", *everything[90:110], "gone"])
        predict(in_parts, shop, "nobody", everything[50:60])
        predict(in_parts, shop, "5", everything)
    assert metric(in_parts, "ranker_prepared_rows_total") >= PRODUCTS
    assert 0 < metric(in_parts, "ranker_cache_prepared_bytes") < metric(in_parts, "ranker_cache_bytes")


def test_changed_product_is_ranked_by_what_it_is_now(
    in_parts: Served, shop: Shop, redis_client: Redis, redis_url: str
) -> None:
    stock(shop, redis_url)
    ids = [str(i) for i in range(20)]
    predict(in_parts, shop, "1", ids)
    before = shop.products[7].copy()
    try:
        shop.products[7] = -3 * before
        redis_client.set("product:7", encode(shop.products[7:8], SCHEMA.fingerprint)[0])
        for _ in range(100):
            response = httpx.post(f"{in_parts.url}/predict", json={"userId": "1", "productIds": ["7"]})
            if response.json()["scores"] == pytest.approx(shop.scores("1", ["7"]).tolist(), abs=1e-5):
                break
        else:
            pytest.fail("the change never showed")
        predict(in_parts, shop, "1", ids)
        predict(in_parts, shop, "2", ids)
    finally:
        shop.products[7] = before
        redis_client.set("product:7", encode(before[np.newaxis], SCHEMA.fingerprint)[0])


def test_explanation_is_of_the_scores_that_ranked(in_parts: Served, shop: Shop) -> None:
    body = {"requestId": "r", "userId": "2", "productIds": [str(i) for i in range(12)]}
    ranked = httpx.post(f"{in_parts.url}/predict", json=body).json()
    explained = httpx.post(f"{in_parts.url}/explain", json=body, timeout=20).json()
    assert [one["id"] for one in explained["products"]] == ranked["ranking"]
    assert [one["score"] for one in explained["products"]] == ranked["scores"]
    values = {name: value for one in explained["products"][:1] for name, value in one["features"].items()}
    expected = shop.products[int(ranked["ranking"][0])]
    assert [values[name] for name in SCHEMA.product.names] == pytest.approx(expected.tolist())
