"""Bodies and requests that nobody thought of: Hypothesis, the mutations of `tests.hostile.fuzz`, and schemathesis."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.fuzz import fuzz, problem
from tests.service.conftest import Served, Shop, serve

TEXT = st.text(max_size=300)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=10,
)
IDS = st.text(min_size=1, max_size=20)
REQUESTS = st.fixed_dictionaries(
    {"requestId": IDS | JSON, "userId": IDS | JSON, "productIds": st.lists(IDS, max_size=20) | JSON},
    optional={"zipCode": TEXT | JSON, "topK": st.integers() | JSON, "other": JSON},
)
BODIES = st.binary(max_size=500) | JSON.map(json.dumps).map(str.encode) | REQUESTS.map(json.dumps).map(str.encode)
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "accept", "x-request-timeout-ms", "authorization", "accept-encoding"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
)


@pytest.fixture(scope="module")
def served(stocked: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A worker and its runner; where scores come from, no body decides."""
    log = tmp_path_factory.mktemp("served") / "log"
    with serve(stocked.environment, log) as running:
        yield running
    text = log.read_text()
    assert "Traceback" not in text, text[-4000:]


def test_any_body_gets_a_ranking_or_one_clear_error(served: Served) -> None:
    with httpx.Client(base_url=served.url, timeout=30) as client:

        @settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
        @given(BODIES, HEADERS)
        def ask(body: bytes, headers: dict[str, str]) -> None:
            response = client.post("/predict", content=body, headers=headers)
            assert problem(response.status_code, response.content) is None

        ask()


def test_changed_bodies_break_nothing_and_kill_nobody(served: Served) -> None:
    workers = psutil.Process(served.process.pid).children(recursive=True)
    statuses, problems = fuzz(httpx.URL(served.url).port or 0, bodies=1000, seed=1)
    assert not problems
    assert set(statuses) == {200, 400, 413, 415}
    assert all(worker.is_running() for worker in workers)


def test_service_keeps_to_its_own_specification(served: Served) -> None:
    schema = schemathesis.openapi.from_url(f"{served.url}/docs.json")
    checks = [
        schemathesis.checks.not_a_server_error,
        schemathesis.checks.status_code_conformance,
        schemathesis.checks.content_type_conformance,
        schemathesis.checks.response_schema_conformance,
    ]
    seen: set[int] = set()

    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def call(data: st.DataObject) -> None:
        case = data.draw(schema["/predict"]["POST"].as_strategy())
        response = case.call()
        seen.add(response.status_code)
        case.validate_response(response, checks=checks)

    call()
    assert {200, 400} & seen
