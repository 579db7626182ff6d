"""`POST /explain` as its callers meet it, in both runner modes."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from redis import Redis

from ranker.scoring.model import OnnxModel
from ranker.vectors.stored.encoding import encode
from tests.service.conftest import ONNX, SCHEMA, Served, Shop
from tests.service.test_served import IDS, body


def explain(served: Served, client: httpx.Client | None = None, **request: Any) -> dict[str, Any]:
    response = (client or httpx).post(f"{served.url}/explain", json=body(**request))
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def offline(matrix: list[list[float]]) -> np.ndarray:
    return OnnxModel(ONNX, SCHEMA).score(np.array(matrix, dtype=np.float32))


@pytest.mark.parametrize("products", [IDS[:1], IDS[:80], [*IDS[300:310], "unknown", *IDS[5:8]], IDS])
@pytest.mark.parametrize("user", ["4", "nobody"])
def test_ranking_and_scores_are_those_of_predict_bit_for_bit(served: Served, user: str, products: list[str]) -> None:
    for more in ({}, {"topK": 5}):
        ranked = httpx.post(f"{served.url}/predict", json=body(user, products, **more)).json()
        answer = explain(served, user=user, products=products, **more)
        assert [p["id"] for p in answer["products"]] == ranked["ranking"]
        assert [p["score"] for p in answer["products"]] == ranked["scores"]
        assert [p["rank"] for p in answer["products"]] == [*range(1, len(ranked["ranking"]) + 1)]
        same = ("requestId", "missing", "missingUser", "degraded", "degradedReason")
        assert {k: answer[k] for k in same} == {k: ranked[k] for k in same}


def test_each_contribution_is_what_onnx_runtime_loses_without_the_feature(served: Served, stocked: Shop) -> None:
    answer = explain(served, user="7", products=IDS[20:24])
    assert (answer["explained"], answer["limitedBy"], answer["model"]) == (4, None, stocked.tag)
    assert answer["fingerprint"] == f"{SCHEMA.fingerprint:08x}"
    user = stocked.users[7].tolist()
    assert [*answer["user"]["features"]] == [*SCHEMA.user.names]
    assert [*answer["user"]["features"].values()] == pytest.approx(user, abs=1e-6)
    for product in answer["products"]:
        row = [*user, *stocked.products[int(product["id"])].tolist()]
        assert [*product["features"].values()] == pytest.approx(row[SCHEMA.user.width :], abs=1e-6)
        without = [[*row[:i], float(SCHEMA.defaults[i]), *row[i + 1 :]] for i in range(SCHEMA.width)]
        given = product["contributions"]
        assert [*given["user"], *given["product"]] == [*SCHEMA.user.names, *SCHEMA.product.names]
        told = [*given["user"].values(), *given["product"].values()]
        assert told == pytest.approx((offline([row]) - offline(without)).tolist(), abs=2e-6)
    stages = answer["timings"]
    assert {"fetch", "assemble", "score", "total", "explain"} <= set(stages)
    assert all(ms >= 0 for ms in stages.values())


def test_vectors_say_where_they_came_from_and_why_not(served: Served, stocked: Shop, redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.set("product:of-another", encode(np.ones((1, SCHEMA.product.width)), SCHEMA.fingerprint ^ 1)[0])
        client.set("product:broken", b"RV\x01")
        client.set(f"product:new-{served.process.pid}", encode(np.ones((1, 9)), SCHEMA.fingerprint)[0])
    new = f"new-{served.process.pid}"
    products = ["3", "absent", "of-another", "broken", new]
    client = httpx.Client()  # one connection, so that one worker answers
    give_up = time.monotonic() + 30
    while explain(served, client, user="5", products=["3"])["user"]["source"] != "cache":  # after it was announced
        assert time.monotonic() < give_up

    def provenance(answer: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
        return {p["id"]: (p["source"], p["reason"]) for p in answer["products"]}

    first = explain(served, client, user="5", products=products)
    assert provenance(first) == {
        "3": ("cache", None),
        "absent": ("default", "missing"),
        "of-another": ("default", "wrong_schema"),
        "broken": ("default", "corrupt"),
        new: ("redis", None),
    }
    assert (first["user"]["source"], first["user"]["reason"]) == ("cache", None)
    assert provenance(explain(served, client, user="5", products=products))[new] == ("cache", None)
    nobody = explain(served, client, user="nobody", products=["3"])["user"]
    assert (nobody["source"], nobody["reason"]) == ("default", "missing")
    # What has its default already adds nothing.
    absent = next(p for p in first["products"] if p["id"] == "absent")
    assert set(absent["contributions"]["product"].values()) == {0}
    assert set(absent["features"].values()) == {-0.5}
    client.close()


def test_overrides_change_the_answer_and_nothing_else(served: Served, stocked: Shop, redis_url: str) -> None:
    overrides = {"user": {"u0": 2.5, "u1": None}, "products": {"11": {"p8": -3, "p0": True}}}
    before = explain(served, user="2", products=IDS[10:13])
    answer = explain(served, user="2", products=IDS[10:13], overrides=overrides)
    rows = {i: [*stocked.users[2].tolist(), *stocked.products[int(i)].tolist()] for i in IDS[10:13]}
    for row in rows.values():
        row[0], row[1] = 2.5, 0.25
    rows["11"][6], rows["11"][14] = 1, -3
    expected = dict(zip(rows, offline([*rows.values()]).tolist(), strict=True))
    assert {p["id"]: p["score"] for p in answer["products"]} == pytest.approx(expected, abs=1e-6)
    assert [p["id"] for p in answer["products"]] == sorted(rows, key=expected.__getitem__, reverse=True)
    assert (answer["user"]["features"]["u0"], answer["user"]["features"]["u1"]) == (2.5, 0.25)
    edited = next(p for p in answer["products"] if p["id"] == "11")
    assert (edited["features"]["p8"], edited["features"]["p0"]) == (-3, 1)
    after = explain(served, user="2", products=IDS[10:13])
    assert [p["score"] for p in after["products"]] == [p["score"] for p in before["products"]]
    with Redis.from_url(redis_url) as client:
        assert client.get("product:11") == encode(stocked.products[11:12], SCHEMA.fingerprint)[0]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"user": {"size": 1}}, "no such feature as 'size'"),
        ({"products": {"1": {"u0": 1}}}, "overrides.products.1: this model has no such feature as 'u0'"),
        ({"products": {"nowhere": {"p0": 1}}}, "'nowhere' is none of productIds"),
        ({"user": {"u0": "1"}}, "overrides.user.u0: Input should be a finite number"),
        ({"user": {"u0": 1e39}}, "overrides.user.u0: Input should be a finite number"),
        ({"user": [1]}, "overrides.user"),
        ({"product": {}}, "overrides: 'product' is neither user nor products"),
    ],
)
def test_override_that_cannot_be_used_is_refused_by_name(served: Served, overrides: Any, said: str) -> None:
    response = httpx.post(f"{served.url}/explain", json=body(overrides=overrides))
    assert (response.status_code, response.json()["error_type"]) == (400, "invalid_request")
    assert said in response.json()["error"]
    assert response.json()["requestId"] == "r"


def test_nan_and_infinity_are_refused(served: Served) -> None:
    for number in (b"NaN", b"Infinity", b"-Infinity"):
        content = orjson.dumps(body())[:-1] + b',"overrides":{"user":{"u0":' + number + b"}}}"
        response = httpx.post(f"{served.url}/explain", content=content)
        assert (response.status_code, response.json()["error_type"]) == (400, "invalid_request"), response.text


@pytest.mark.parametrize(
    ("content", "status", "error_type"),
    [
        (b"", 400, "empty_body"),
        (b"{", 400, "invalid_json"),
        (orjson.dumps(body(products=["1", "1"])), 400, "duplicate_products"),
        (orjson.dumps(body(products=[str(i) for i in range(1001)])), 400, "too_many_products"),
        (b" " * ((1 << 20) + 1), 413, "body_too_large"),
    ],
)
def test_errors_are_those_of_predict(served: Served, content: bytes, status: int, error_type: str) -> None:
    for path in ("/predict", "/explain"):
        response = httpx.post(served.url + path, content=content)
        assert (response.status_code, response.json()["error_type"]) == (status, error_type)
    assert httpx.get(f"{served.url}/explain").status_code == 405
    response = httpx.post(f"{served.url}/explain", json=body(), headers={"x-request-timeout-ms": "soon"})
    assert (response.status_code, response.json()["error_type"]) == (400, "invalid_timeout")


def test_more_products_than_are_explained_are_ranked_all_the_same(served: Served) -> None:
    answer = explain(served, products=IDS)
    assert (answer["explained"], answer["limitedBy"], len(answer["products"])) == (100, "products", len(IDS))
    last_told, first_untold = answer["products"][99:101]
    assert last_told["contributions"] is not None
    assert (first_untold["contributions"], first_untold["features"]) == (None, None)


def test_client_of_bentoml_explains(served: Served, stocked: Shop) -> None:
    script = (
        "import bentoml, sys\n"
        "with bentoml.SyncHTTPClient(sys.argv[1]) as client:\n"
        "    print(client.explain(requestId='r', userId='1', productIds=['1', '2'])['products'][0]['rank'])"
    )
    command = [sys.executable, "-c", script, served.url]
    done = subprocess.run(command, env=stocked.environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr
