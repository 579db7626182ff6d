"""Variant: one model as served; all parts of the request path that depend on the model's schema, put together.

A worker has one variant, and while a new model is rolled out two or three: the model, its canary and its shadow. Each
reads its own keys, over connections and with a breaker of its own, so that what Redis refuses to one of them never
degrades the others. Knows nothing of which requests it gets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import numpy as np

from ranker.api.explain import ExplainRequest
from ranker.api.predict import PredictRequest
from ranker.features.cache import CachedStore
from ranker.features.store import CONNECTIONS, RedisStore
from ranker.features.uncached import UncachedStore
from ranker.ranking.answer import Answer
from ranker.ranking.context import ContextReader
from ranker.ranking.explain.explainer import Explainer, Explanation
from ranker.ranking.job import Budget, Policy
from ranker.ranking.pipeline import Pipeline
from ranker.ranking.rounds import ScoreMatrix
from ranker.redis.connect import connect, tracking_beside
from ranker.settings.environment import Settings
from ranker.telemetry.metrics import Recorder
from ranker.vectors.rows import ProductId, UserId
from ranker.vectors.schema import FeatureSchema

Store = CachedStore | UncachedStore
"""Store of a variant's features."""


class ServedModel(NamedTuple):
    """A model that can be served.

    Attributes:
        tag: Its name in the model store, `name:version`.
        schema: What its columns are.
        score: The way to it.
    """

    tag: str
    schema: FeatureSchema
    score: ScoreMatrix


class Variant:
    """Ranks with one model.

    Args:
        model: The model.
        settings: As read from the environment; the cache gets `Settings.variant_cache_bytes`.
        policy: What answers do without.
        recorder: Told of fetches, calls, defaults, the cache and Redis; what a shadow does is nobody's request, so it
            has a recorder of its own that nobody reads.
        connections: MGETs in flight at a time.

    Attributes:
        tag: The model's.
        store: Where the model's features come from.
    """

    def __init__(
        self,
        model: ServedModel,
        settings: Settings,
        policy: Policy,
        recorder: Recorder,
        *,
        connections: int = CONNECTIONS,
    ) -> None:
        self.tag = model.tag
        self._default_row = model.schema.defaults
        self._context = ContextReader(model.schema, recorder.context_default, recorder.context_rounded)
        self.store = _make_store(model.schema, settings, recorder, connections)
        self._pipeline = Pipeline(
            model.schema,
            self.store,
            model.score,
            policy,
            max_rows=settings.max_batch_rows,
            on_call=recorder.merged_score,
        )
        self._explainer = Explainer(model.tag, model.schema, self.store, self._pipeline.score, policy)

    async def rank(self, request: PredictRequest, budget: Budget | None = None) -> Answer:
        """Answer one checked request.

        Raises:
            InvalidRequest: its context is not what the model takes.
            UnknownUser, DependencyError, ModelError: as the policy says.
        """
        context = self._context.read(request.context, request.productContext, request.zipCode, len(request.productIds))
        product_ids = cast("list[ProductId]", request.productIds)
        answer = await self._pipeline.rank(UserId(request.userId), product_ids, request.topK, context, budget)
        return answer._replace(model=self.tag)

    async def explain(self, request: ExplainRequest, budget: Budget) -> Explanation:
        """Explain one checked request.

        Raises:
            InvalidRequest, UnknownUser, DependencyError, ModelError: as `rank` does.
        """
        return await self._explainer.explain(request, budget)

    @property
    def waiting(self) -> Mapping[str, Callable[[], int]]:
        """The number that waits before each hop."""
        return {"fetch": lambda: self.store.waiting, "score": lambda: self._pipeline.waiting}

    async def rehearse(self, request: PredictRequest) -> Answer:
        """Answer a request that nobody made: what it does not bring is not counted."""
        product_ids = cast("list[ProductId]", request.productIds)
        return await self._pipeline.rank(UserId(request.userId), product_ids)

    async def score_defaults(self, rows: int) -> None:
        """Score the default row so many times, to warm up.

        Raises:
            RunnerUnavailable: the runner is not there yet.
        """
        await self._pipeline.score(np.tile(self._default_row, (rows, 1)))

    async def close(self) -> None:
        """Cancel what is in progress, and let go of Redis."""
        await self._pipeline.close()
        await self.store.close()


def _make_store(schema: FeatureSchema, settings: Settings, recorder: Recorder, size: int) -> Store:
    connections = connect(settings.redis_url, size=size, timeout_s=settings.redis_timeout_ms / 1000)
    recorder.watch_redis(connections)
    store = RedisStore(connections, schema, recorder.merged_fetch)
    if not settings.cache_mb:
        return UncachedStore(store, schema)
    cache = CachedStore(
        store,
        schema,
        size_bytes=settings.variant_cache_bytes,
        ttl_s=settings.cache_ttl_s,
        user_ttl_s=settings.cache_user_ttl_s,
        tracking=settings.cache_tracking,
        make_tracking=tracking_beside(connections, settings.redis_url, timeout_s=settings.deadline_ms / 1000),
    )
    recorder.watch(cache)
    return cache
