"""One API worker: the parts of the request path put together, warmed up, and taken apart again.

Owns which parts there are, and when the worker is ready. Knows nothing of HTTP or BentoML: how scores are had is
handed in.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from time import monotonic, perf_counter
from typing import cast

import numpy as np
import orjson

from ranker import access, api, metrics
from ranker.admission import Admission
from ranker.assembler import Joiner
from ranker.batching import MicroBatcher
from ranker.cache import CachedStore
from ranker.callers import Callers
from ranker.context import ContextReader
from ranker.encoding import Matrix, ProductId, Scores, UserId
from ranker.errors import DependencyError, RunnerUnavailable, StoreUnavailable, UnknownUser
from ranker.explain_api import ExplainRequest
from ranker.explainer import CHUNK_ROWS, Explainer, Explanation
from ranker.memory import freeze, keep_freed_memory
from ranker.observer import Observer
from ranker.pipeline import Answer, Budget, Pipeline, Policy, ScoreMatrix
from ranker.schema import FeatureSchema
from ranker.settings import Settings
from ranker.slow import SlowRequests
from ranker.stalls import CollectorWatch, watch_loop
from ranker.store import CONNECTIONS, FeatureStore, RedisStore
from ranker.tracing import Spans
from ranker.turns import Turns

logger = logging.getLogger("ranker.worker")

WARM_UP_ROWS = (1, 10, 100, 1000)
WARM_UP_ROUNDS = 5
"""Enough for BentoML's dispatcher, where it is used, to have fitted its latency model on the first dozen calls."""
RUNNER_RETRY_S = 0.1
REQUESTS_PER_ROUND = 16
"""Requests that begin in one round of the event loop: some 3 ms of work with 100 products each. Fewer make what waits
for Redis quicker and cost throughput; more hold up timers and health checks."""
LONG_AT_A_TIME = 1
"""Two would score a sixth more rows a second with the runner service, and make short requests wait twice as long."""
QUEUE_SHARE = 0.35
"""The part of the deadline that answers may take, on average, while requests are refused."""


class Worker:
    """What ranks in one process.

    Args:
        settings: As read from the environment.
        schema: The model's.
        score: The way to the model.
        spans: Where traces go; nowhere when None.

    Attributes:
        admission: How much is in flight.
        callers: Who waits for an answer.
        observer: Who is told of each request that is over.
        recorder: What happens here, for the metrics.
        turns: Who begins when.
        draining: Whether the worker was told to end.
    """

    def __init__(
        self, settings: Settings, schema: FeatureSchema, score: ScoreMatrix, spans: Spans | None = None
    ) -> None:
        self.recorder = metrics.Recorder()
        self.observer = Observer(self.recorder, SlowRequests(settings.slow_ms), spans)
        self.turns = Turns(REQUESTS_PER_ROUND, LONG_AT_A_TIME)
        self._collector = CollectorWatch(self.recorder.gc_pause)
        self.admission = Admission(settings.max_in_flight_rows, QUEUE_SHARE * settings.deadline_ms / 1000)
        self.callers = Callers()
        self.draining = False
        self._warm = False
        self._deadline_s = settings.deadline_ms / 1000
        self._drain_s = settings.drain_s
        self._default_row = schema.defaults
        self._context = ContextReader(schema, self.recorder.context_default)
        self._scorer: MicroBatcher[Matrix, Scores] = MicroBatcher(
            score,
            Joiner(schema.width, settings.max_batch_rows),
            np.concatenate,
            max_rows=settings.max_batch_rows,
            share=max(settings.max_batch_rows // 8, 1),
            on_call=self.recorder.merged_score,
        )
        self._store = self._make_store(settings, schema)
        self.recorder.watch_load(
            lambda: self.admission.rows,
            {
                "turn": lambda: self.turns.waiting,
                "fetch": lambda: self._store.waiting,
                "score": lambda: self._scorer.waiting,
            },
        )
        self._warm_products = settings.warm_products
        policy = Policy(self._deadline_s, settings.on_failure, settings.missing_user, settings.missing_product)
        self._pipeline = Pipeline(schema, self._store, self._scorer.submit, policy)
        self._explainer = Explainer(schema, self._store, self._scorer.submit, policy)
        self._chunk_rows = min(CHUNK_ROWS, settings.max_in_flight_rows)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """Whether the worker has warmed up and was not told to end."""
        return self._warm and not self.draining

    def allowed_s(self, deadline_s: float | None) -> float:
        """Return the seconds a request may take, given how long its caller waits."""
        return self._deadline_s if deadline_s is None else min(deadline_s, self._deadline_s)

    async def rank(
        self,
        request: api.PredictRequest,
        body_bytes: int = 0,
        arrived: float | None = None,
        deadline_s: float | None = None,
    ) -> Answer:
        """Admit and answer one checked request; the observer is told by whoever makes bytes of the answer.

        Args:
            request: The request.
            body_bytes: How long it was.
            arrived: When it arrived, by `time.monotonic`, for what it has waited counts; now when None.
            deadline_s: Seconds its caller waits in all, where that is less than the settings say.

        Raises:
            Overloaded: too many rows are in flight.
            InvalidRequest: its context is not what the model takes.
            UnknownUser, DependencyError, ModelError: as the policy says.
        """
        rows = len(request.productIds)
        self.admission.enter(rows, body_bytes)
        budget, late = Budget(monotonic() if arrived is None else arrived, self.allowed_s(deadline_s)), False
        try:
            context = self._context.read(request.context, request.productContext, request.zipCode, rows)
            product_ids = cast("list[ProductId]", request.productIds)
            answer = await self._pipeline.rank(UserId(request.userId), product_ids, request.topK, context, budget)
            late = answer.degraded_reason == "scores_late"
        finally:
            self.admission.leave(rows, monotonic() - budget.started, late=late)
        return answer

    async def explain(
        self, request: ExplainRequest, arrived: float | None = None, deadline_s: float | None = None
    ) -> Explanation:
        """Admit and explain one checked request; it is not counted as a ranking.

        Raises:
            Overloaded, InvalidRequest, UnknownUser, DependencyError, ModelError: as `rank` does.
        """
        rows = max(len(request.productIds), self._chunk_rows)
        self.admission.enter(rows, 0)
        budget = Budget(monotonic() if arrived is None else arrived, self.allowed_s(deadline_s))
        try:
            return await self._explainer.explain(request, budget)
        finally:
            self.admission.leave(rows, monotonic() - budget.started, late=False)

    def start(self) -> None:
        """Begin to warm up, to report, and to watch what holds up the loop."""
        keep_freed_memory()
        works = (
            self._warm_up(),
            self._report(),
            self.admission.adjust(),
            watch_loop(self.recorder.loop_lag),
        )
        self._tasks = [asyncio.create_task(work) for work in works]
        self._collector.start()

    async def drain(self) -> None:
        """Say that this worker is not ready, and go on for as long as balancers may take to notice."""
        self.draining = True
        await asyncio.sleep(self._drain_s)

    async def stop(self) -> None:
        """Cancel what is in progress, and let go of Redis."""
        for task in self._tasks:
            task.cancel()
        self._collector.stop()
        await self._scorer.close()
        await self._store.close()
        await self.observer.close()

    def _make_store(self, settings: Settings, schema: FeatureSchema) -> FeatureStore:
        timeout_s = settings.redis_timeout_ms / 1000
        connections = access.connect(settings.redis_url, size=CONNECTIONS, timeout_s=timeout_s)
        self.recorder.watch_redis(connections)
        store = RedisStore(connections, schema, self.recorder.merged_fetch)
        if not settings.cache_mb:
            return store
        cache = CachedStore(
            store,
            schema,
            size_bytes=settings.cache_mb << 20,
            ttl_s=settings.cache_ttl_s,
            user_ttl_s=settings.cache_user_ttl_s,
            tracking=settings.cache_tracking,
            make_tracking=access.tracking_beside(
                connections, settings.redis_url, timeout_s=settings.deadline_ms / 1000
            ),
        )
        self.recorder.watch(cache)
        return cache

    async def _warm_up(self) -> None:
        """Take the whole way, at the sizes that will come, so that the first request is like the thousandth."""
        try:
            await self._store.open()
            await self._fill_cache()
        except StoreUnavailable as err:
            logger.warning("Starting without Redis: %s", err)
        rounds = 0
        while rounds < WARM_UP_ROUNDS:
            try:
                for rows in WARM_UP_ROWS:
                    await self._scorer.submit(np.tile(self._default_row, (rows, 1)))
                    with suppress(UnknownUser, DependencyError):
                        await self._rehearse(rows)
                rounds += 1
            except RunnerUnavailable:
                await asyncio.sleep(RUNNER_RETRY_S)
        freeze()
        self._warm = True

    async def _rehearse(self, rows: int) -> None:
        """Answer a request from its bytes to the answer's bytes, without counting it."""
        products = [f"warm-up-{i}" for i in range(rows)]
        body = orjson.dumps({"requestId": "warm-up", "userId": "warm-up", "productIds": products})
        request = api.parse(body, max_products=rows)
        answer = await self._pipeline.rank(UserId(request.userId), cast("list[ProductId]", request.productIds))
        api.render(request, answer.ranking, answer.scores, answer.missing, answer.degraded_reason)
        answer.timings().header()

    async def _fill_cache(self) -> None:
        if self._warm_products is None or not isinstance(self._store, CachedStore):
            return
        began = perf_counter()
        lines = self._warm_products.read_text(errors="replace").splitlines()
        products = [ProductId(line.strip()) for line in lines if line.strip()]
        filled = await self._store.fill(products)
        logger.info("Read %d of %d products into the cache in %.1f s", filled, len(products), perf_counter() - began)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(metrics.FLUSH_INTERVAL_S)
            self.observer.report()
