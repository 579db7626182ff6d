"""The service as its callers meet it: over a socket, in both runner modes."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
import time
from typing import Any

import httpx
import orjson
import pytest

from ranker import __version__
from ranker.telemetry.metrics import FLUSH_INTERVAL_S
from tests.service.conftest import PRODUCTS, USERS, Served, Shop

IDS = [str(i) for i in range(PRODUCTS)]


def body(user: str = "3", products: list[str] | None = None, **more: object) -> dict[str, Any]:
    return {"requestId": "r", "userId": user, "productIds": products or IDS[:10], **more}


def assert_right(shop: Shop, request: dict[str, Any], answer: dict[str, Any]) -> None:
    """Check an answer against ONNX Runtime run here, offline, on the same vectors."""
    assert (answer["requestId"], answer["degraded"], answer["degradedReason"]) == (request["requestId"], False, None)
    ids = request["productIds"]
    expected = dict(zip(ids, shop.scores(request["userId"], ids).tolist(), strict=True))
    assert sorted(answer["ranking"]) == sorted(ids)[: len(answer["ranking"])] or request.get("topK")
    assert answer["scores"] == pytest.approx([expected[i] for i in answer["ranking"]], abs=1e-6)
    assert answer["scores"] == sorted(answer["scores"], reverse=True)
    assert answer["missing"] == [i for i in ids if not i.isdigit()]
    assert answer["missingUser"] == (not request["userId"].isdigit())


def test_ranking_equals_onnx_runtime_offline(served: Served, stocked: Shop) -> None:
    for user in ("0", "19", "nobody"):
        for products in (IDS[:1], IDS[:80], [*IDS[300:310], "unknown", *IDS[5:8]]):
            request = body(user, products, zipCode="10115")
            response = httpx.post(f"{served.url}/predict", json=request)
            assert response.status_code == 200
            assert_right(stocked, request, response.json())
            assert response.json()["zipCode"] == "10115"
            assert response.headers["x-ranker-model"] == "test-shop:1"
            stages = [part.split(";dur=") for part in response.headers["server-timing"].split(", ")]
            assert [s for s, _ in stages] == ["fetch", "assemble", "score", "total", "queue", "rank"]
            assert all(0 <= float(ms) < 2000 for _, ms in stages)


def test_top_k_is_the_head_of_the_whole_ranking(served: Served) -> None:
    whole = httpx.post(f"{served.url}/predict", json=body(products=IDS[:50])).json()
    head = httpx.post(f"{served.url}/predict", json=body(products=IDS[:50], topK=7)).json()
    assert (head["ranking"], head["scores"]) == (whole["ranking"][:7], whole["scores"][:7])


def test_concurrent_mixed_requests_answer_like_solo_ones(served: Served, stocked: Shop) -> None:
    chance = random.Random(5)
    requests = [
        body(str(chance.randrange(USERS)), chance.sample(IDS, chance.randint(1, 300)), requestId=f"r{i}")
        for i in range(640)
    ]

    async def load() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=64)
        queue = asyncio.Semaphore(64)
        async with httpx.AsyncClient(limits=limits, timeout=30) as client:

            async def one(request: dict[str, Any]) -> httpx.Response:
                async with queue:
                    return await client.post(f"{served.url}/predict", json=request)

            return await asyncio.gather(*map(one, requests))

    for request, response in zip(requests, asyncio.run(load()), strict=True):
        assert response.status_code == 200
        assert_right(stocked, request, response.json())


BAD = [
    (b"", 400, "empty_body", None),
    (b"{", 400, "invalid_json", None),
    (b"\x80\x05N.", 400, "invalid_json", None),
    (b"null", 400, "invalid_request", None),
    (orjson.dumps({"requestId": "r", "userId": "1"}), 400, "invalid_request", "r"),
    (orjson.dumps(body() | {"userId": 3.5}), 400, "invalid_request", "r"),
    (orjson.dumps(body() | {"topk": 3}), 400, "invalid_request", "r"),
    (orjson.dumps(body() | {"productIds": []}), 400, "invalid_request", "r"),
    (orjson.dumps(body() | {"productIds": "1"}), 400, "invalid_request", "r"),
    (orjson.dumps(body() | {"productIds": ["x" * 10_240]}), 400, "invalid_request", "r"),
    (orjson.dumps(body() | {"productIds": [""]}), 400, "invalid_request", "r"),
    (orjson.dumps(body(topK=0)), 400, "invalid_request", "r"),
    (orjson.dumps(body(context={"hour": 14})), 400, "invalid_request", "r"),
    (orjson.dumps(body(productContext={"price": [1] * 10})), 400, "invalid_request", "r"),
    (orjson.dumps(body(products=["1", "2", "1"])), 400, "duplicate_products", "r"),
    (orjson.dumps(body(products=[str(i) for i in range(1001)])), 400, "too_many_products", "r"),
    (b" " * ((1 << 20) + 1), 413, "body_too_large", None),
    (b"[" * 500_000, 400, "invalid_request", None),  # counted before it is parsed
]


@pytest.mark.parametrize(("content", "status", "error_type", "request_id"), BAD)
def test_bad_input_gets_its_status_and_one_clear_object(
    served: Served, content: bytes, status: int, error_type: str, request_id: str | None
) -> None:
    for headers in ({"content-type": "application/json"}, {"content-type": "text/plain;charset=UTF-8"}, {}):
        response = httpx.post(f"{served.url}/predict", content=content, headers=headers)
        assert response.status_code == status
        answer = response.json()
        assert set(answer) == {"error", "error_type", "requestId"}
        assert (answer["error_type"], answer["requestId"]) == (error_type, request_id)
        assert answer["error"].endswith(".")
        assert re.fullmatch(r"total;dur=\d+\.\d{3}", response.headers["server-timing"])
        assert "Traceback" not in response.text


def test_large_body_without_a_length_is_refused_too(served: Served) -> None:
    def chunks() -> Any:
        for _ in range(40):
            yield b" " * 65_536

    response = httpx.post(f"{served.url}/predict", content=chunks())
    assert (response.status_code, response.json()["error_type"]) == (413, "body_too_large")


@pytest.mark.parametrize("identifier", ["with space", "nul\0byte", "*1\r\n$8\r\nFLUSHALL\r\n", "{id}", "🛒", "../x"])
def test_strange_ids_are_just_unknown_products(served: Served, stocked: Shop, identifier: str) -> None:
    request = body(products=["1", identifier, "2"])
    response = httpx.post(f"{served.url}/predict", json=request)
    assert response.status_code == 200
    assert_right(stocked, request, response.json())


CLIENTS = """
import asyncio, bentoml, json, sys
url, request = sys.argv[1], json.loads(sys.argv[2])
with bentoml.SyncHTTPClient(url) as client:
    first = client.predict(**request)
async def call():
    async with bentoml.AsyncHTTPClient(url) as client:
        return await client.predict(**request)
assert asyncio.run(call()) == first
print(json.dumps(first))
"""


def test_clients_of_bentoml_work(served: Served, stocked: Shop) -> None:
    request = body(products=IDS[:20])
    # In a process of its own: the clients leave files open, which is an error in this one.
    command = [sys.executable, "-c", CLIENTS, served.url, json.dumps(request)]
    done = subprocess.run(command, env=stocked.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert_right(stocked, request, json.loads(done.stdout))


def test_documented_examples_are_answered(served: Served) -> None:
    docs = httpx.get(f"{served.url}/docs.json").json()
    for path in ("/predict", "/explain"):
        example = docs["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
        assert httpx.post(served.url + path, json=example).status_code == 200


def test_pages_and_description_name_no_other_host(served: Served) -> None:
    for path in ("/", "/play", "/docs.json"):
        response = httpx.get(f"{served.url}{path}")
        assert response.status_code == 200
        assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+", response.text) == []
        if path != "/docs.json":
            assert "default-src 'none'" in response.headers["content-security-policy"]
            assert "unsafe" not in response.headers["content-security-policy"]
    assert httpx.head(served.url).content == b""
    assert response.json()["info"]["version"] == __version__


def test_metrics_count_what_happened(served: Served) -> None:
    names = [
        'ranker_requests_total{outcome="ok"}',
        'ranker_requests_total{outcome="duplicate_products"}',
        'ranker_stage_seconds_count{stage="total"}',
        'ranker_unusable_rows_total{entity="product",reason="missing"}',
        "ranker_cache_lookups_total",
    ]

    def counts() -> list[float]:
        lines = httpx.get(f"{served.url}/metrics").text.splitlines()
        return [sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)) for name in names]

    # A worker that is not asked for its metrics writes what it noted within the interval.
    time.sleep(2 * FLUSH_INTERVAL_S)
    before = counts()
    httpx.post(f"{served.url}/predict", json=body(products=["1", "none-1", "none-2"]))
    httpx.post(f"{served.url}/predict", json=body(products=["1", "1"]))
    time.sleep(2 * FLUSH_INTERVAL_S)
    assert [after - b for after, b in zip(counts(), before, strict=True)] == [1, 1, 1, 2, 4]


def test_metrics_hold_no_count_that_rankings_pass_by(served: Served) -> None:
    httpx.post(f"{served.url}/predict", json=body()).raise_for_status()
    httpx.get(f"{served.url}/readyz")
    families = {
        line.split()[2] for line in httpx.get(f"{served.url}/metrics").text.splitlines() if line.startswith("# T")
    }
    assert families
    assert {name for name in families if not name.startswith("ranker_")} == set()


def test_metrics_tell_how_late_the_loop_is(served: Served) -> None:
    time.sleep(2 * FLUSH_INTERVAL_S)
    lines = httpx.get(f"{served.url}/metrics").text.splitlines()
    (count,) = (line.split()[1] for line in lines if line.startswith("ranker_loop_lag_seconds_count"))
    assert float(count) > 50


def test_health_is_bentomls(served: Served) -> None:
    for path in ("/livez", "/readyz"):
        assert httpx.get(served.url + path).status_code == 200
    assert httpx.get(f"{served.url}/predict").status_code == 405
