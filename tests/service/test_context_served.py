"""Served for real with a model that takes context, over features as others store them, and watched: logs as JSON, every
answer a slow one, traces to a collector."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest
from redis import Redis

from ranker.scoring.model import OnnxModel
from ranker.telemetry.metrics import FLUSH_INTERVAL_S
from ranker.vectors.schema import FeatureSchema
from tests.service.conftest import Served, environment, import_model, serve
from tests.service.test_served import CLIENTS
from tests.support.metrics_table import documented_as_shown, shown
from tests.support.models import mlp_onnx
from tests.support.trace_collector import Collector, collecting

SCHEMA = FeatureSchema.from_mapping(
    {
        "user": {"format": "hash", "features": ["age", {"name": "spend", "default": 0.5}]},
        "product": {"format": "float32", "features": ["stock", "rating", "margin"]},
        "context": {
            "features": [
                {"name": "hour", "default": 0.5},
                {"name": "device", "categories": {"ios": 0, "android": 1}, "default": -1},
                {"name": "area", "from": "zipCode", "categories": {"10115": 2}, "prefixes": {"1": 1}, "default": -1},
            ]
        },
        "productContext": {"features": [{"name": "price", "default": 0.25}]},
    }
)
ONNX = mlp_onnx(SCHEMA.width)
PRODUCTS = 40
IDS = [str(i) for i in range(PRODUCTS)]


@dataclass(frozen=True)
class Shop:
    """What is stored and served."""

    served: Served
    environment: dict[str, str]
    users: np.ndarray
    products: np.ndarray
    collector: Collector


@pytest.fixture(scope="module")
def shop(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("home")
    tag = import_model(home, ONNX, SCHEMA, "test-context")
    chance = np.random.default_rng(3)
    users = chance.normal(size=(3, 2)).astype(np.float32)
    products = chance.normal(size=(PRODUCTS, 3)).astype(np.float32)
    with Redis.from_url(redis_url) as client:
        client.flushall()
        client.mset({f"product:{i}": row.astype("<f4").tobytes() for i, row in enumerate(products)})
        for i, (age, spend) in enumerate(users.tolist()):
            client.hset(f"user:{i}", mapping={"age": age, "spend": spend, "not_a_feature": "x"})
        client.hdel("user:2", "spend")
        users[2, 1] = 0.5
    env = environment(home, RANKER_REDIS_URL=redis_url, RANKER_MODEL=tag)
    with collecting() as collector:
        watched = {
            "RANKER_SLOW_MS": "0.001",
            "RANKER_LOG_FORMAT": "json",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        with serve(env | watched, home / "log") as served:
            yield Shop(served, env, users, products, collector)
    text = (home / "log").read_text()
    assert "Traceback" not in text, text[-4000:]


def predict(shop: Shop, **request: Any) -> httpx.Response:
    return httpx.post(f"{shop.served.url}/predict", json={"requestId": "r", "userId": "1", **request})


def assert_right(shop: Shop, answer: dict[str, Any], user: int, ids: list[str], brought: Any) -> None:
    """Check an answer against ONNX Runtime run here on the stored rows and what the request brought, (n, 4)."""
    stored = [[*shop.users[user], *shop.products[int(i)]] for i in ids]
    matrix = np.hstack([np.array(stored, dtype=np.float32), np.array(brought, dtype=np.float32)])
    expected = dict(zip(ids, OnnxModel(ONNX, SCHEMA).score(matrix).tolist(), strict=True))
    assert answer["scores"] == pytest.approx([expected[i] for i in answer["ranking"]], abs=1e-6)
    assert sorted(answer["ranking"], key=expected.__getitem__, reverse=True) == answer["ranking"]
    assert (answer["missing"], answer["degraded"]) == ([], False)


def test_ranking_with_context_equals_onnx_runtime_offline(shop: Shop) -> None:
    prices = np.random.default_rng(1).normal(size=10).tolist()
    cases: list[tuple[dict[str, Any], list[list[float]]]] = [
        ({}, [[0.5, -1, -1, 0.25]] * 10),
        ({"context": {"hour": 14, "device": "android"}}, [[14, 1, -1, 0.25]] * 10),
        ({"context": {"hour": True, "device": "fridge"}, "zipCode": "10115"}, [[1, -1, 2, 0.25]] * 10),
        ({"productContext": {"price": prices}, "zipCode": "19999"}, [[0.5, -1, 1, p] for p in prices]),
        ({"productContext": {"price": [None, *prices[1:]]}}, [[0.5, -1, -1, p] for p in [0.25, *prices[1:]]]),
    ]
    for request, brought in cases:
        for user in range(3):
            response = predict(shop, userId=str(user), productIds=IDS[:10], **request)
            assert response.status_code == 200, response.text
            assert_right(shop, response.json(), user, IDS[:10], brought)


def test_permuting_products_with_their_context_permutes_the_scores(shop: Shop) -> None:
    chance = random.Random(2)
    prices = {i: chance.uniform(-2, 2) for i in IDS}

    def scores(ids: list[str]) -> dict[str, float]:
        answer = predict(shop, productIds=ids, productContext={"price": [prices[i] for i in ids]}).json()
        return dict(zip(answer["ranking"], answer["scores"], strict=True))

    in_order = scores(IDS)
    for _ in range(5):
        assert scores(chance.sample(IDS, PRODUCTS)) == pytest.approx(in_order, abs=1e-6)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"context": {"huor": 14}}, "context: this model takes 'hour', 'device', not 'huor'"),
        ({"context": {"area": "1"}}, "context: this model takes 'hour', 'device', not 'area'"),
        ({"context": {"hour": "14"}}, "context.hour: Input should be a number or a boolean"),
        ({"context": {"device": 1}}, "context.device: Input should be a category"),
        ({"context": [14]}, "context: Input should be an object"),
        ({"productContext": {"prize": [1, 2]}}, "productContext: this model takes 'price', not 'prize'"),
        ({"productContext": {"price": [1]}}, "productContext.price: Input should have one value for each of the 2"),
        ({"productContext": {"price": 1}}, "productContext.price: Input should be a valid array"),
        ({"productContext": {"price": [1, "2"]}}, "productContext.price.1: Input should be a number"),
        ({"productContext": {"price": [1, 1e39]}}, "productContext.price.1: Input should be a finite number"),
    ],
)
def test_wrong_context_is_a_400_that_names_it(shop: Shop, request_: dict[str, Any], said: str) -> None:
    response = predict(shop, productIds=["1", "2"], **request_)
    answer = response.json()
    assert (response.status_code, answer["error_type"], answer["requestId"]) == (400, "invalid_request", "r")
    assert said in answer["error"]


def test_infinite_number_in_json_is_refused(shop: Shop) -> None:
    for value in ("NaN", "Infinity", "1e999"):
        body = f'{{"requestId": "r", "userId": "1", "productIds": ["1"], "context": {{"hour": {value}}}}}'
        response = httpx.post(f"{shop.served.url}/predict", content=body.encode())
        assert (response.status_code, response.json()["error_type"]) in [
            (400, "invalid_request"),
            (400, "invalid_json"),
        ]


def test_clients_of_bentoml_send_context(shop: Shop) -> None:
    context = {"context": {"hour": 14, "device": "ios"}, "productContext": {"price": [1.5, None]}}
    request = {"requestId": "r", "userId": "1", "productIds": ["4", "5"], **context}
    command = [sys.executable, "-c", CLIENTS, shop.served.url, json.dumps(request)]
    done = subprocess.run(command, env=shop.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert_right(shop, json.loads(done.stdout), 1, ["4", "5"], [[14, 0, -1, 1.5], [14, 0, -1, 0.25]])


def test_documented_example_has_context_and_is_answered(shop: Shop) -> None:
    docs = httpx.get(f"{shop.served.url}/docs.json").json()
    example = docs["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert (set(example["context"]), set(example["productContext"])) == ({"hour", "device"}, {"price"})
    assert httpx.post(f"{shop.served.url}/predict", json=example).status_code == 200


def test_values_that_took_a_default_are_counted(shop: Shop) -> None:
    labels = [
        'feature="context.hour",reason="absent"',
        'feature="context.device",reason="unknown_category"',
        'feature="productContext.price",reason="absent"',
    ]

    def counts() -> list[float]:
        lines = httpx.get(f"{shop.served.url}/metrics").text.splitlines()
        names = [f"ranker_context_defaults_total{{{label}}}" for label in labels]
        return [sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)) for name in names]

    time.sleep(2 * FLUSH_INTERVAL_S)
    before = counts()
    predict(shop, productIds=["1", "2", "3"], context={"device": "fridge"}, productContext={"price": [None, 1, None]})
    time.sleep(2 * FLUSH_INTERVAL_S)
    assert [after - b for after, b in zip(counts(), before, strict=True)] == [1, 1, 2]


def test_metrics_are_those_that_the_readme_lists_and_no_others(shop: Shop, redis_url: str) -> None:
    predict(shop, productIds=["1", "none"], productContext={"price": [16777217, 1]})
    with Redis.from_url(redis_url) as client:
        for key in ("user:0", "product:0"):  # a change of each, for their age to be known
            client.restore(key, 0, client.dump(key), replace=True)
    time.sleep(2 * FLUSH_INTERVAL_S)
    text = httpx.get(f"{shop.served.url}/metrics").text
    assert shown(text) == documented_as_shown()
    info = next(line for line in text.splitlines() if line.startswith("ranker_model_info{"))
    assert 'model="test-context:1"' in info
    assert f'fingerprint="{SCHEMA.fingerprint:08x}"' in info
    assert 'runner="service"' in info
    ages = [float(line.split()[1]) for line in text.splitlines() if line.startswith("ranker_feature_age_seconds{")]
    assert all(0 < age < 60 for age in ages)


TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_sampled_request_is_three_spans_in_its_callers_trace(shop: Shop) -> None:
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "shop=7"}
    body = {"requestId": "traced", "userId": "1", "productIds": ["11", "12", "13"]}
    assert httpx.post(f"{shop.served.url}/predict", json=body, headers=headers).status_code == 200
    spans = shop.collector.wait_for(TRACE, 3)
    request, fetch, score = (spans[name] for name in ("POST /predict", "fetch", "score"))
    assert {span.resource["service.name"] for span in spans.values()} == {"ranker"}
    assert (request.parent, fetch.parent, score.parent) == (CALLER, request.id, request.id)
    assert {span.state for span in spans.values()} == {"shop=7"}
    assert request.attributes["ranker.request_id"] == "traced"
    assert request.attributes["http.response.status_code"] == 200
    assert fetch.attributes["ranker.rows"] == 4
    assert fetch.attributes["ranker.cache_hits"] + fetch.attributes.get("ranker.merged_rows", 0) >= 4
    assert score.attributes["ranker.rows"] == score.attributes["ranker.merged_rows"] == 3
    assert score.attributes["ranker.merged_requests"] == 1
    assert request.start <= fetch.start <= fetch.end <= score.start <= score.end <= request.end
    assert abs(request.end / 1e9 - time.time()) < 60


def test_failed_request_is_a_span_with_its_error(shop: Shop) -> None:
    trace = "1" * 32
    headers = {"traceparent": f"00-{trace}-{CALLER}-01"}
    body = {"requestId": "twice", "userId": "1", "productIds": ["1", "1"]}
    assert httpx.post(f"{shop.served.url}/predict", json=body, headers=headers).status_code == 400
    (span,) = shop.collector.wait_for(trace, 1).values()
    assert span.attributes["error.type"] == "duplicate_products"
    assert span.attributes["http.response.status_code"] == 400
    assert span.attributes["ranker.request_id"] == "twice"


def test_callers_decision_not_to_sample_is_kept(shop: Shop) -> None:
    unsampled, after = "2" * 32, "3" * 32
    for trace, flag in ((unsampled, "00"), (after, "01")):
        headers = {"traceparent": f"00-{trace}-{CALLER}-{flag}"}
        body = {"requestId": "r", "userId": "1", "productIds": ["1"]}
        assert httpx.post(f"{shop.served.url}/predict", json=body, headers=headers).status_code == 200
    shop.collector.wait_for(after, 3)  # exported in order
    assert shop.collector.spans(unsampled) == {}


def test_log_lines_are_objects_and_slow_ones_name_request_and_trace(shop: Shop) -> None:
    time.sleep(2 * FLUSH_INTERVAL_S)  # or others' slow answers leave no line for this one
    headers = {"traceparent": f"00-{'4' * 32}-{CALLER}-01"}
    body = {"requestId": "logged\n1", "userId": "1", "productIds": ["1", "2"]}
    assert httpx.post(f"{shop.served.url}/predict", json=body, headers=headers).status_code == 200
    deadline = time.monotonic() + 30
    slow: list[dict[str, Any]] = []
    while not slow and time.monotonic() < deadline:
        lines = [json.loads(line) for line in shop.served.log.read_text().splitlines()]
        slow = [line for line in lines if line.get("request_id") == "logged\n1"]
        time.sleep(0.05)
    (line,) = slow
    assert (line["level"], line["logger"], line["trace_id"]) == ("warning", "ranker.slow", "4" * 32)
    assert (line["products"], line["batch_rows"]) == (2, 2)
    assert line["cache_hits"] + line["keys_read"] >= 3
    assert 0 < line["fetch_ms"] + line["score_ms"] < line["total_ms"]
    assert {"time", "process", "message"} <= set(line)


def test_explanation_shows_and_weighs_what_the_request_brought(shop: Shop) -> None:
    request = {"requestId": "r", "userId": "1", "productIds": IDS[:3], "context": {"hour": 14, "device": "ios"}}
    request |= {"zipCode": "10115", "productContext": {"price": [1.5, None, -2]}}
    ranked = httpx.post(f"{shop.served.url}/predict", json=request).json()
    answer = httpx.post(f"{shop.served.url}/explain", json=request).json()
    assert [p["score"] for p in answer["products"]] == ranked["scores"]
    assert answer["context"] == {"hour": 14, "device": 0, "area": 2}
    for product in answer["products"]:
        i = int(product["id"])
        assert product["productContext"] == {"price": [1.5, 0.25, -2][i]}
        row = np.array([[*shop.users[1], *shop.products[i], 14, 0, 2, [1.5, 0.25, -2][i]]], dtype=np.float32)
        without = row.copy()
        without[0, 5] = 0.5
        model = OnnxModel(ONNX, SCHEMA)
        expected = (model.score(row) - model.score(without)).item()
        assert product["contributions"]["context"]["hour"] == pytest.approx(expected, abs=2e-6)
    refused = httpx.post(f"{shop.served.url}/explain", json=request | {"context": {"huor": 1}})
    assert refused.status_code == 400
