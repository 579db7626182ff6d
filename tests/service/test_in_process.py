"""The service without sockets: the ASGI app, its lifespan, and the table from errors to statuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import bentoml
import httpx
import numpy as np
import pytest
from opentelemetry.sdk.trace import Tracer
from prometheus_client import REGISTRY
from redis import Redis

from ranker import errors
from ranker.http.statuses import STATUSES
from ranker.scoring.model import OnnxModel
from ranker.scoring.registry import store_model
from ranker.telemetry import tracing
from ranker.telemetry.observer import Observer
from ranker.telemetry.slow_requests import SlowRequests
from ranker.vectors.stored.encoding import encode
from tests.service.conftest import ONNX, SCHEMA, import_service
from tests.support.models import temporary_model_store
from tests.support.sample import run

BODY = {"requestId": "r", "userId": "1", "productIds": ["2", "0", "1", "none"]}


@pytest.fixture(params=["service", "local"])
def service(
    request: pytest.FixtureRequest, redis_client: Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    """`ranker.service`, imported afresh, as `bentoml serve` would, over three users and products."""
    for name, width in (("user", SCHEMA.user.width), ("product", SCHEMA.product.width)):
        vectors = encode(np.arange(3 * width).reshape(3, width) / 10, SCHEMA.fingerprint)
        redis_client.mset({f"{name}:{i}": vector for i, vector in enumerate(vectors)})
    with temporary_model_store(tmp_path):
        tag, _ = store_model(ONNX, SCHEMA, "in-process", "1")
        for name, value in (("REDIS_URL", redis_url), ("MODEL", tag), ("RUNNER", request.param)):
            monkeypatch.setenv(f"RANKER_{name}", value)
        yield import_service()


@asynccontextmanager
async def client(service: ModuleType) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app, once that is ready."""
    app: Any = service.Ranker.to_asgi()
    inner = app.app
    registered = set(REGISTRY._collector_to_names)
    async with AsyncExitStack() as stack:
        # BentoML registers its metrics once a process, and this process starts it several times.
        stack.callback(lambda: [REGISTRY.unregister(c) for c in set(REGISTRY._collector_to_names) - registered])
        await stack.enter_async_context(inner.router.lifespan_context(inner))
        transport = httpx.ASGITransport(app)
        http = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://ranker"))
        while (await http.get("/readyz")).status_code != 200:  # noqa: ASYNC110  # readiness sets no event
            await asyncio.sleep(0.01)
        yield http


def test_ranks_as_onnx_runtime_does_and_names_what_is_missing(service: ModuleType) -> None:
    async def test() -> None:
        async with client(service) as http:
            response = await http.post("/predict", json=BODY)
            assert response.status_code == 200
            answer = response.json()
            user = np.arange(SCHEMA.user.width, 2 * SCHEMA.user.width) / 10
            products = np.arange(3 * SCHEMA.product.width).reshape(3, -1) / 10
            rows = [*(np.concatenate([user, products[i]]) for i in (2, 0, 1)), [*user, *SCHEMA.product.defaults]]
            scores = OnnxModel(ONNX, SCHEMA).score(np.array(rows, dtype=np.float32))
            expected = dict(zip(BODY["productIds"], scores.tolist(), strict=True))
            assert {
                i: pytest.approx(s, abs=1e-6) for i, s in zip(answer["ranking"], answer["scores"], strict=True)
            } == (expected)
            assert answer["missing"] == ["none"]
            same = await bentoml.get_current_service().predict.local(**BODY)  # the API method itself
            assert same.model_dump() == answer
            with pytest.raises(errors.InvalidRequest, match="takes none, not 'hour'"):
                await bentoml.get_current_service().predict.local(**BODY, context={"hour": 14})

    run(test, seconds=60)


def test_what_was_rehearsed_with_is_not_kept(service: ModuleType) -> None:
    async def test() -> None:
        async with client(service) as http:
            cache = bentoml.get_current_service().worker._rollout.main.store
            assert cache.keeping
            assert cache.entries == {"user": 0, "product": 0}
            assert (await http.post("/predict", json=BODY)).status_code == 200
            assert cache.entries == {"user": 1, "product": len(BODY["productIds"])}

    run(test, seconds=60)


def test_unforeseen_error_is_a_clear_500_without_details(
    service: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> bytes:
        raise ZeroDivisionError("the secret detail")

    async def test() -> None:
        async with client(service) as http:
            monkeypatch.setattr("ranker.http.endpoints.intake.render", broken)
            response = await http.post("/predict", json=BODY)
            assert response.status_code == 500
            assert response.json()["error_type"] == "internal_error"
            assert response.json()["requestId"] == "r"
            assert "secret" not in response.text

    run(test, seconds=60)
    assert "the secret detail" in caplog.text


def test_every_error_that_a_request_can_meet_has_a_status(service: ModuleType) -> None:
    def leaves(family: type[Exception]) -> set[type[Exception]]:
        below = family.__subclasses__()
        return set().union(*map(leaves, below)) if below else {family}

    met = leaves(errors.RequestError) | leaves(errors.DependencyError) | leaves(errors.ModelError)
    assert met - {errors.ModelRejected} == set(STATUSES)  # that one is raised at import only
    assert all(400 <= status < 600 for status, _ in STATUSES.values())


def test_without_an_exporter_no_span_is_made(service: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    begin = Tracer.start_span
    monkeypatch.setattr(Tracer, "start_span", lambda *args, **more: made.append(args) or begin(*args, **more))
    headers = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}

    async def test() -> None:
        async with client(service) as http:
            worker = bentoml.get_current_service().worker
            assert (await http.post("/predict", json=BODY, headers=headers)).status_code == 200
            assert (await http.post("/predict", json={}, headers=headers)).status_code == 400
            assert made == []
            spans = tracing.Spans(EntryPoint("console", "benchmarks.harness.discarding:Discarding", "test"), "1")
            worker.observer = Observer(worker.recorder, SlowRequests(0), spans)
            assert (await http.post("/predict", json=BODY, headers=headers)).status_code == 200
            assert len(made) == 3

    run(test, seconds=60)
