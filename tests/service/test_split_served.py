"""A split model, served for real: in one process, and by API workers beside a runner service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import httpx
import numpy as np
import pytest
from redis import Redis

from ranker.scheduling.sampling import Split
from ranker.scoring.registry import store_model
from ranker.scoring.split.files import SplitChoice
from ranker.scoring.split.note import Note
from ranker.vectors.stored.encoding import encode
from tests.service.conftest import ONNX, PRODUCTS, SCHEMA, USERS, Served, Shop, serve, stock
from tests.support.models import temporary_model_store
from tests.support.splits import cut_mlp

LONG = {"RANKER_MAX_BATCH_ROWS": "64"}
"""So that lists of more products go to the model in pieces."""


def store_in_parts(shop: Shop) -> str:
    """Store the shop's model in parts, too; return the tag."""
    cut = cut_mlp(SCHEMA, hidden=32)
    assert cut.whole == ONNX  # the shop's model, whose scores it knows
    with temporary_model_store(Path(shop.environment["BENTOML_HOME"]) / "models"):
        tag, _ = store_model(ONNX, SCHEMA, "test-split", "1", split=SplitChoice(Note(rows=1), cut.parts))
    return tag


@pytest.fixture(scope="module", params=["service", "local"])
def in_parts(
    request: pytest.FixtureRequest, shop: Shop, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    tag = store_in_parts(shop)
    stock(shop, redis_url)
    log = tmp_path_factory.mktemp("split") / "log"
    env = shop.environment | LONG | {"RANKER_MODEL": tag, "RANKER_RUNNER": request.param}
    with serve(env, log) as running:
        yield running
    text = log.read_text()
    assert "Traceback" not in text, text[-4000:]


def predict(served: Served, shop: Shop, user: str, ids: list[str], model: str = "test-split:1") -> None:
    """Rank, and refuse what the whole graph does not give, or another model."""
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
    assert response.headers["x-ranker-model"] == model


def metric(served: Served, name: str) -> float:
    lines = httpx.get(f"{served.url}/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def follow(served: Served, shop: Shop, redis_client: Redis, product: int, users: list[str]) -> None:
    """Rewrite a product, and wait until each of the users is ranked by what it is now."""
    shop.products[product] *= -3
    redis_client.set(f"product:{product}", encode(shop.products[product : product + 1], SCHEMA.fingerprint)[0])
    for user in users:
        expected = shop.scores(user, [str(product)]).tolist()
        for _ in range(100):
            response = httpx.post(f"{served.url}/predict", json={"userId": user, "productIds": [str(product)]})
            if response.json()["scores"] == pytest.approx(expected, abs=1e-5):
                break
        else:
            pytest.fail("the change never showed")


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
        follow(in_parts, shop, redis_client, 7, ["1"])
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


@pytest.fixture(scope="module", params=["service", "local"])
def rolling_out(
    request: pytest.FixtureRequest, shop: Shop, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, str, str]]:
    """Serve a model in parts to half of the users, and the same model whole to the others, or the other way round."""
    models = store_in_parts(shop), shop.tag
    main, canary = models if request.param == "service" else models[::-1]
    stock(shop, redis_url)
    log = tmp_path_factory.mktemp("rollout") / "log"
    rollout = {"CANARY_MODEL": canary, "CANARY_PERCENT": "50", "SHADOW_MODEL": canary, "SHADOW_PERCENT": "100"}
    env = shop.environment | {"RANKER_MODEL": main, "RANKER_RUNNER": request.param}
    with serve(env | {f"RANKER_{name}": value for name, value in rollout.items()}, log) as running:
        yield running, main, canary
    text = log.read_text()
    assert "Traceback" not in text, text[-4000:]


def test_model_in_parts_and_whole_side_by_side_rank_alike_and_follow_changes(
    rolling_out: tuple[Served, str, str], shop: Shop, redis_client: Redis, redis_url: str
) -> None:
    stock(shop, redis_url)
    served, main, canary = rolling_out
    ids = [str(i) for i in range(40)]
    split = Split(canary, 50)
    model_of = {user: canary if split.takes(user) else main for user in map(str, range(USERS))}
    assert set(model_of.values()) == {main, canary}
    for _ in range(2):  # read, then from memory
        for user, model in model_of.items():
            predict(served, shop, user, ids, model)
    assert metric(served, "ranker_prepared_rows_total") >= len(ids)
    compared = sum(2 for model in model_of.values() if model == main)
    deadline = monotonic() + 30
    while metric(served, 'ranker_shadow_requests_total{outcome="compared"}') < compared:
        assert monotonic() < deadline, "the shadow did not compare what the model ranked"
    assert metric(served, "ranker_shadow_top_k_overlap_sum") == metric(served, "ranker_shadow_top_k_overlap_count")

    one_of_each = [next(user for user, model in model_of.items() if model == wanted) for wanted in (main, canary)]
    before = shop.products[9].copy()
    try:
        follow(served, shop, redis_client, 9, one_of_each)
        for user in one_of_each:
            predict(served, shop, user, ids, model_of[user])
    finally:
        shop.products[9] = before
        redis_client.set("product:9", encode(before[np.newaxis], SCHEMA.fingerprint)[0])
