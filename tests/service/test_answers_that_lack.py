"""Answers that lack something, served: each says so, the metrics count it, the log and /explain say why."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import msgpack
import numpy as np
import pytest
from onnx import TensorProto, helper
from redis import Redis

from ranker.telemetry.metrics import FLUSH_INTERVAL_S
from ranker.vectors.stored.encoding import encode
from tests.service.conftest import Served, environment, import_model, serve
from tests.support.models import onnx_bytes, schema_of_width, tensor

SCHEMA = schema_of_width(1, 2)
KNOWN = 500
"""Ids that the embedding has a row for; asked for another, ONNX Runtime raises."""
LARGEST = 3.4028235e38
"""The shortest text of the largest float32."""
PRODUCTS = {"a": (1, 0.1), "b": (2, 0.3), "beyond": (98_999, 0.2), "first": (3, 3e38), "last": (4, -3e38)}


def embedding_onnx() -> bytes:
    """The score of a row (u, id, gain) is u + table[id] + 10 gain; the index hangs on u, too, which is always 1.

    Of an index that one feature makes, the import finds the bounds, and what is beyond them is no usable row.
    """
    constants = {f"column{i}": np.array(i, np.int64) for i in range(3)}
    constants |= {"table": np.zeros(KNOWN, np.float32), "ten": np.array(10, np.float32)}
    nodes = [
        *(helper.make_node("Gather", ["features", f"column{i}"], [f"x{i}"], axis=1) for i in range(3)),
        helper.make_node("Mul", ["x0", "x1"], ["product"]),
        helper.make_node("Cast", ["product"], ["id"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "id"], ["of_id"]),
        helper.make_node("Mul", ["x2", "ten"], ["of_gain"]),
        helper.make_node("Sum", ["x0", "of_id", "of_gain"], ["scores"]),
    ]
    return onnx_bytes(nodes, [tensor("features", ["n", 3])], [tensor("scores", ["n"])], constants)


@pytest.fixture(scope="module", params=["service", "local"])
def served(
    request: pytest.FixtureRequest, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("home")
    tag = import_model(home, embedding_onnx(), SCHEMA, "test-embedding")
    with Redis.from_url(redis_url) as client:
        client.flushall()
        client.set("user:u", encode([[1.0]], SCHEMA.fingerprint)[0])
        vectors = encode(list(PRODUCTS.values()), SCHEMA.fingerprint)
        client.mset({f"product:{i}": vector for i, vector in zip(PRODUCTS, vectors, strict=True)})
    env = environment(home, RANKER_REDIS_URL=redis_url, RANKER_MODEL=tag, RANKER_RUNNER=request.param)
    with serve(env, home / "log") as running:
        yield running


def ask(served: Served, *products: str, user: str | None = "u", path: str = "/predict") -> dict[str, Any]:
    body = {"requestId": "r-1", "userId": user, "productIds": products}
    response = httpx.post(served.url + path, json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def count(served: Served, series: str) -> float:
    lines = httpx.get(f"{served.url}/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(series))


def wait_for_count(served: Served, series: str, expected: float) -> None:
    deadline = time.monotonic() + 10 * FLUSH_INTERVAL_S
    while count(served, series) < expected:
        assert time.monotonic() < deadline, (series, count(served, series))
        time.sleep(0.1)
    assert count(served, series) == expected


def test_row_that_the_model_cannot_score_is_named_in_the_log_in_explain_and_by_kind(served: Served) -> None:
    series = 'ranker_failures_total{kind="model_failed"}'
    before = count(served, series)
    for _ in range(3):
        answer = ask(served, "a", "beyond", "b")
        assert (answer["scores"], answer["degradedReason"]) == ([None, None, None], "scores_unavailable")
    raised = f"idx=98999 must be within the inclusive range [-{KNOWN},{KNOWN - 1}]"
    told = [line for line in served.log.read_text().splitlines() if raised in line]
    assert len(told) == 1, told  # in a minute
    assert "'r-1'" in told[0]
    assert told[0].count("could not score") == 1
    explanation = ask(served, "a", "beyond", "b", path="/explain")
    assert raised in explanation["failure"]
    assert explanation["degradedReason"] == "scores_unavailable"
    assert ask(served, "a", "b", path="/explain")["failure"] is None
    wait_for_count(served, series, before + 3)  # explanations are nobody's answers


def test_infinite_scores_rank_at_their_end_and_are_numbers(served: Served) -> None:
    series = "ranker_infinite_scores_total"
    before = count(served, series)
    products = ("a", "last", "first", "b")
    answer = ask(served, *products)
    assert answer["ranking"] == ["first", "b", "a", "last"]
    assert answer["scores"] == pytest.approx([LARGEST, 4, 2, -LARGEST])
    assert np.float32(answer["scores"][0]) == np.finfo(np.float32).max
    assert not answer["degraded"]
    explained = ask(served, *products, path="/explain")["products"]
    assert [product["score"] for product in explained] == answer["scores"]
    wait_for_count(served, series, before + 2)
    assert "infinity for 2 of the 4 products of request 'r-1'" in served.log.read_text()


def test_nobody_is_ranked_for_by_the_default_user_and_counts_as_no_missing_one(served: Served) -> None:
    series = 'ranker_unusable_rows_total{entity="user"'
    before = count(served, series)
    answer = ask(served, "a", "b", user=None)
    assert (answer["ranking"], answer["missingUser"], answer["degraded"]) == (["b", "a"], False, False)
    assert answer["scores"] == pytest.approx([3, 1])  # u is 0
    bare = httpx.post(f"{served.url}/predict", json={"requestId": "r-1", "productIds": ["a", "b"]}).json()
    assert bare == answer
    packed = msgpack.packb({"requestId": "r-1", "userId": None, "productIds": ["a", "b"]})
    headers = {"content-type": "application/msgpack"}
    assert msgpack.unpackb(httpx.post(f"{served.url}/predict", content=packed, headers=headers).content) == answer
    explanation = ask(served, "a", "b", user=None, path="/explain")
    assert explanation["user"] == {"id": None, "source": "default", "reason": "no_user_id", "features": {"u0": 0}}
    assert not explanation["missingUser"]
    assert ask(served, "a", user="nobody")["missingUser"]
    wait_for_count(served, series, before + 1)


@pytest.mark.parametrize(
    ("user", "products", "reason"),
    [("nobody", ("x", "y"), "no_features"), ("nobody", ("x", "a"), None), ("u", ("x", "y"), None)],
)
def test_answer_for_which_nothing_was_found_is_no_success(
    served: Served, user: str, products: tuple[str, ...], reason: str | None
) -> None:
    before = count(served, 'ranker_degraded_total{reason="no_features"}')
    answer = ask(served, *products, user=user)
    assert (answer["missingUser"], answer["degraded"]) == (user == "nobody", reason is not None)
    assert answer["degradedReason"] == reason
    explanation = ask(served, *products, user=user, path="/explain")
    shared = ("missing", "missingUser", "degraded", "degradedReason")
    assert {name: explanation[name] for name in shared} == {name: answer[name] for name in shared}
    wait_for_count(served, 'ranker_degraded_total{reason="no_features"}', before + (reason is not None))
