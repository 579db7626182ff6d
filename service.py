"""The BentoML shell: the runner service, the API service, errors to HTTP, lifecycle.

The ranking itself is in `ranker/`; here it meets processes and sockets. `POST /predict` is answered by `PredictRoute`
(`ranker/route.py`), in front of BentoML's middlewares and its own endpoint: the same method, schema and client, without
the framework's share of the time, and with one shape for every error.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import quote, unquote, urlsplit

import bentoml
import numpy as np
from bentoml.validators import ContentType
from starlette.types import ASGIApp

from ranker import api, errors, metrics, registry
from ranker.batching import MicroBatcher
from ranker.cache import CachedStore
from ranker.channel import ChannelClient, ChannelServer
from ranker.connection import RedisConnections
from ranker.encoding import Matrix, ProductId, Scores, UserId
from ranker.pipeline import Answer, Pipeline, Policy
from ranker.route import INTERNAL, PredictRoute, RouteSettings, render
from ranker.schema import FeatureSchema
from ranker.scorer import Scorer
from ranker.settings import Settings
from ranker.store import CONNECTIONS, FeatureStore, RedisStore
from ranker.tracking import Tracking

# uvicorn takes uvloop wherever it finds it. With uvloop 0.23 some of 300 connections wait for seconds while others are
# served again and again (p99 2.6 s at 500 in flight, against 0.5 s); asyncio's own loop is fair, and as fast here.
sys.modules["uvloop"] = None  # type: ignore[assignment]

logger = logging.getLogger("ranker.service")

HERE = Path(__file__).resolve().parent
WARM_UP_ROWS = (1, 10, 100, 1000)
WARM_UP_ROUNDS = 5
"""Enough for BentoML's dispatcher, where it is used, to have fitted its latency model on the first dozen calls."""

STATUS: dict[type[errors.RankerError], tuple[int, str]] = {
    errors.EmptyBody: (400, "empty_body"),
    errors.InvalidJson: (400, "invalid_json"),
    errors.InvalidRequest: (400, "invalid_request"),
    errors.DuplicateProducts: (400, "duplicate_products"),
    errors.TooManyProducts: (400, "too_many_products"),
    errors.UnknownUser: (404, "unknown_user"),
    errors.BodyTooLarge: (413, "body_too_large"),
    errors.Overloaded: (429, "overloaded"),
    errors.StoreUnavailable: (503, "store_unavailable"),
    errors.RunnerUnavailable: (503, "runner_unavailable"),
    errors.ModelFailed: (503, "model_failed"),
    errors.WrongShape: (503, "model_failed"),
    errors.DeadlineExceeded: (504, "deadline_exceeded"),
}


def _start() -> tuple[Settings, bentoml.Model]:
    """Read the settings and find the model, or end the process with one message that names every problem."""
    defaults: dict[str, str] = {}
    embedded = HERE / ".ranker" / "redis.sock"
    if embedded.exists():
        # The path may be a link, for what a socket's path may be is short.
        defaults["redis_url"] = f"unix://{quote(os.path.realpath(embedded))}"
    if built_in := registry.built_in_model(HERE.parent):
        defaults["model"] = built_in
    try:
        if "BENTOML_NO_UDS" in os.environ:
            raise errors.InvalidSettings(
                ["BENTOML_NO_UDS would open the runner, which accepts pickle, to every local user; unset it"]
            )
        settings = Settings.from_env(os.environ, defaults)
        model = registry.find_model(settings.model)
        registry.schema_of(model)
        return settings, model
    except errors.StartupError as err:
        raise SystemExit(str(err)) from None


SETTINGS, MODEL = _start()

QUIET: dict[str, Any] = {
    # A timer per request stays until it fires, so it must not be long after the deadline.
    "traffic": {"timeout": int(SETTINGS.deadline_ms / 1000) + 2},
    "tracing": {"excluded_urls": ["."]},
    "logging": {"access": {"enabled": False}},
}


@bentoml.service(
    name="ranker_runner",
    workers=1,
    metrics={"enabled": False},
    # BentoML's client closes its session after max_requests while other calls are still using it.
    runner_connection={"max_requests": 1_000_000_000, "max_age": 1e9},
    **QUIET,
)
class Runner:
    """Scores matrices with the ONNX model; adaptive batching over rows."""

    model = bentoml.models.BentoModel(MODEL.tag)

    def __init__(self) -> None:
        self._onnx = registry.load_model(self.model)
        self._score = Scorer(self._onnx.score)
        self._channel = ChannelServer(self._score, self._onnx.width, SETTINGS.max_batch_rows)

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=SETTINGS.max_batch_rows, max_latency_ms=60_000)
    async def score(
        self, matrix: np.ndarray, /
    ) -> Annotated[np.ndarray, ContentType("application/vnd.bentoml+pickle")]:
        """Score a matrix (n, F) float32; return (n,) float32."""
        return await self._score(matrix)

    @bentoml.on_startup
    async def start(self) -> None:
        """Open the short way for API workers of this machine."""
        if path := _channel_path():
            await self._channel.open(path)
        _freeze()

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Answer what is in progress."""
        await self._channel.close()
        self._score.close()


class RankerService(bentoml.Service[Any]):
    """A BentoML service whose `/predict` is answered before BentoML's middlewares."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        settings = RouteSettings(STATUS, str(MODEL.tag), SETTINGS.max_products, SETTINGS.max_body_bytes)
        return PredictRoute(super().to_asgi(is_main), bentoml.get_current_service, settings)

    @property
    def openapi_spec(self) -> Any:
        """BentoML's specification, with the errors that `/predict` really answers."""
        spec = super().openapi_spec
        spec.components["schemas"]["ErrorBody"] = api.ErrorBody.model_json_schema()
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
        by_status: dict[int, list[str]] = {}
        for status, error_type in (*STATUS.values(), INTERNAL):
            by_status.setdefault(status, []).append(error_type)
        responses = spec.paths["/predict"].post["responses"]
        for status, error_types in by_status.items():
            responses[status] = {"description": ", ".join(dict.fromkeys(error_types)), "content": content}
        return spec


@bentoml.service(name="ranker", workers=SETTINGS.api_workers, service_class=RankerService, **QUIET)
class Ranker:
    """Ranks a user's candidate products, best first."""

    model = bentoml.models.BentoModel(MODEL.tag)
    if SETTINGS.runner == "service":
        runner = bentoml.depends(Runner)

    def __init__(self) -> None:
        schema = registry.schema_of(self.model)
        self.recorder = metrics.Recorder()
        self._in_flight_rows = 0
        self._ready = False
        self._width = schema.width
        self._scorer: MicroBatcher[Matrix, Scores] = MicroBatcher(
            self._make_score(schema),
            np.concatenate,
            max_rows=SETTINGS.max_batch_rows,
            share=max(SETTINGS.max_batch_rows // 8, 1),
            on_call=self.recorder.merged_score,
        )
        self._store = self._make_store(schema)
        policy = Policy(
            SETTINGS.deadline_ms / 1000, SETTINGS.on_failure, SETTINGS.missing_user, SETTINGS.missing_product
        )
        self._pipeline = Pipeline(schema, self._store, self._scorer.submit, policy)

    @bentoml.api(input_spec=api.PredictRequest, output_spec=api.PredictResponse)
    async def predict(self, **params: Any) -> api.PredictResponse:
        """Rank the products for the user, best first."""
        request = api.check(api.PredictRequest(**params), SETTINGS.max_products)
        answer = await self.rank(request)
        return api.PredictResponse.model_validate_json(render(request, answer))

    async def rank(self, request: api.PredictRequest) -> Answer:
        """Admit and answer one checked request.

        Raises:
            Overloaded: too many rows are in flight.
            UnknownUser, DependencyError: as the policy says.
        """
        rows = len(request.productIds)
        if self._in_flight_rows + rows > SETTINGS.max_in_flight_rows:
            raise errors.Overloaded(self._in_flight_rows, SETTINGS.max_in_flight_rows)
        self._in_flight_rows += rows
        try:
            product_ids = cast("list[ProductId]", request.productIds)
            answer = await self._pipeline.rank(UserId(request.userId), product_ids, request.topK)
        finally:
            self._in_flight_rows -= rows
        self.recorder.answer(answer)
        return answer

    def _make_store(self, schema: FeatureSchema) -> FeatureStore:
        store = RedisStore(_connections(), schema, self.recorder.merged_fetch)
        if not SETTINGS.cache_mb:
            return store
        cache = CachedStore(
            store,
            schema,
            size_bytes=SETTINGS.cache_mb << 20,
            ttl_s=SETTINGS.cache_ttl_s,
            user_ttl_s=SETTINGS.cache_user_ttl_s,
            tracking=SETTINGS.cache_tracking,
            make_tracking=partial(Tracking, SETTINGS.redis_url, timeout_s=SETTINGS.deadline_ms / 1000),
        )
        self.recorder.watch(cache)
        return cache

    def _make_score(self, schema: FeatureSchema) -> Callable[[Matrix], Awaitable[Scores]]:
        """Return the way to the model: in this process, a unix socket away, or wherever BentoML put the runner."""
        if SETTINGS.runner == "local":
            return Scorer(registry.load_model(self.model).score)
        if path := _channel_path():
            timeout_s = SETTINGS.deadline_ms / 1000
            return ChannelClient(path, schema.width, SETTINGS.max_batch_rows, timeout_s=timeout_s).score
        return self._score_in_runner

    async def _score_in_runner(self, matrix: Matrix) -> Scores:
        try:
            scores: Scores = await self.runner.to_async.score(matrix)
        except Exception as err:  # whatever aiohttp or BentoML raise, the runner did not score
            raise errors.RunnerUnavailable(f"{type(err).__name__}: {err}") from err
        return scores

    # --- lifecycle ----------------------------------------------------------------------------------------------

    @bentoml.on_deployment
    @staticmethod
    def check() -> None:
        """Refuse to start with a model that cannot be served or a Redis that does not answer; before any worker."""
        try:
            registry.load_model(MODEL)
            asyncio.run(_ping())
        except errors.StartupError as err:
            raise SystemExit(str(err)) from None

    @bentoml.on_startup
    async def start(self) -> None:
        """Begin to warm up; the runner may start later than this worker."""
        self._tasks = [asyncio.create_task(self._warm_up()), asyncio.create_task(self._report())]

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Let go of Redis."""
        for task in self._tasks:
            task.cancel()
        await self._scorer.close()
        await self._store.close()

    async def __is_ready__(self) -> bool:
        return self._ready

    async def _warm_up(self) -> None:
        """Take the whole way, at the sizes that will come, so that the first request is like the thousandth."""
        try:
            await self._store.open()
        except errors.StoreUnavailable as err:
            logger.warning("Starting without Redis: %s", err)
        rounds = 0
        while rounds < WARM_UP_ROUNDS:
            try:
                for rows in WARM_UP_ROWS:
                    await self._scorer.submit(np.zeros((rows, self._width), dtype=np.float32))
                    with suppress(errors.UnknownUser, errors.DependencyError):
                        products = [ProductId(f"warm-up-{i}") for i in range(rows)]
                        await self._pipeline.rank(UserId("warm-up"), products)
                rounds += 1
            except errors.RunnerUnavailable:
                await asyncio.sleep(0.1)
        _freeze()
        self._ready = True

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(metrics.FLUSH_INTERVAL_S)
            self.recorder.flush()


def _channel_path() -> Path | None:
    """Return where the runner's short way is: beside the socket that BentoML made for it, if it made one."""
    runner: bentoml.Service[Any] = Runner
    url = urlsplit(runner.url or "")
    return Path(unquote(url.path)).with_suffix(".rows") if url.scheme == "file" else None


def _connections() -> RedisConnections:
    return RedisConnections(SETTINGS.redis_url, size=CONNECTIONS, timeout_s=SETTINGS.deadline_ms / 1000)


async def _ping() -> None:
    try:
        connections = _connections()
    except ValueError:  # its message may quote the URL
        raise errors.InvalidSettings(["RANKER_REDIS_URL has an option that redis-py does not take"]) from None
    try:
        await connections.ping()
    except errors.StoreUnavailable as err:
        raise errors.StoreUnreachable(connections.where, str(err)) from None
    await connections.close()


def _freeze() -> None:
    """Move all objects that exist out of the collector's sight: a full collection under load takes some 80 ms."""
    gc.collect()
    gc.freeze()
