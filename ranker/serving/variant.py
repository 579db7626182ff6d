"""Variant: one model as served; all parts of the request path that depend on the model's schema, put together.

A worker has one variant, and while a new model is rolled out two or three: the model, its canary and its shadow. Each
reads its own keys, over connections and with a breaker of its own, so that what Redis refuses to one of them never
degrades the others. Knows nothing of which requests it gets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, Protocol, cast

import numpy as np

from ranker.api.explain import ExplainRequest
from ranker.api.predict import PredictRequest
from ranker.features.groups.grouped import GroupedRows
from ranker.features.near_cache.cache import CachedStore
from ranker.features.prepared import Preparer
from ranker.features.store import CONNECTIONS, RedisStore
from ranker.features.uncached import UncachedStore
from ranker.ranking.answer import Answer
from ranker.ranking.context.key_texts import KeyTexts
from ranker.ranking.context.reader import ContextReader
from ranker.ranking.explain.explainer import Explainer, Explanation, Outputs
from ranker.ranking.job import Budget, Job, Policy
from ranker.ranking.pipeline import Pipeline
from ranker.ranking.rounds.entry import settle
from ranker.ranking.rounds.later_scores import ScoreMatrix, ScoreRound
from ranker.redis.connect import connect, tracking_beside
from ranker.scoring.split.preparation import Preparation
from ranker.scoring.split.product_part import ProductPart
from ranker.settings.environment import Settings
from ranker.telemetry.metrics.sources import Sources
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
        products: The product part of a split one, whose rounds `score` takes; None for a whole one.
        outputs: A matrix (n, F) → what each of the graph's outputs gives, for explanations; it may open the graph. None
            for a model whose score is its one output.
        score_alone: The way to it for a request while no other waits; `score` when None.
    """

    tag: str
    schema: FeatureSchema
    score: ScoreMatrix | ScoreRound
    products: ProductPart | None = None
    outputs: Outputs | None = None
    score_alone: ScoreMatrix | ScoreRound | None = None


class Notes(Protocol):
    """Notes of what a variant does, for the metrics; a `Recorder` takes them.

    Attributes:
        sources: Told where counts are kept.
    """

    sources: Sources

    def context_default(self, feature: str, reason: str, count: int) -> None:
        """Note values of a request-time feature that took its default."""

    def context_rounded(self, feature: str, count: int) -> None:
        """Note whole numbers of a request-time feature that float32 changed."""

    def merged_fetch(self, requests: int, rows: int) -> None:
        """Note one MGET."""

    def merged_score(self, requests: int, rows: int) -> None:
        """Note one call of the model."""

    def prepared(self, seconds: float, rows: int) -> None:
        """Note one call of the model's product part."""


class Variant:
    """Ranks with one model.

    Args:
        model: The model.
        settings: As read from the environment; the cache gets `Settings.variant_cache_bytes`.
        policy: What answers do without.
        notes: Told of fetches, calls, defaults, the cache and Redis.
        connections: MGETs in flight at a time.
        background: Nobody waits for its rankings.

    Attributes:
        tag: The model's.
        max_products: The most products of a request.
        store: Where the model's features come from.
    """

    def __init__(
        self,
        model: ServedModel,
        settings: Settings,
        policy: Policy,
        notes: Notes,
        *,
        connections: int = CONNECTIONS,
        background: bool = False,
    ) -> None:
        self.tag = model.tag
        self.max_products = settings.max_products
        self._default_row = model.schema.defaults
        self._context = ContextReader(model.schema, notes.context_default, notes.context_rounded)
        self._preparation: Preparation | None = None
        if model.products is not None:
            self._preparation = Preparation(model.products, notes.prepared, background=background)
        preparer = None if self._preparation is None else Preparer(model.schema.product.width, self._preparation)
        self.store = _make_store(model.schema, settings, notes, connections, preparer)
        self._texts = KeyTexts(model.schema)
        groups = GroupedRows(model.schema, self.store) if model.schema.reads_more else None
        self._pipeline = Pipeline(
            model.schema,
            self.store,
            model.score,
            policy,
            max_rows=settings.max_batch_rows,
            on_call=notes.merged_score,
            model=model.tag,
            groups=groups,
            preparation=self._preparation,
            score_alone=model.score_alone,
        )
        explains = model.tag, model.schema, self.store, self._pipeline.score, policy, groups
        self._explainer = Explainer(*explains, prepared=self._preparation is not None, outputs=model.outputs)

    def begin(self, request: PredictRequest, budget: Budget, done: Callable[[Answer | BaseException], None]) -> Job:
        """Have one checked request ranked, in a round with what else begins in this turn of the event loop.

        Args:
            request: The request.
            budget: The time there is.
            done: Told the answer, or why there is none, once; never before this returns, never once it is abandoned.

        Raises:
            InvalidRequest: its context is not what the model takes; `done` is told nothing then.
        """
        context = self._context.read(request.context, request.productContext, request.zipCode, len(request.productIds))
        texts = self._texts.read(request.context, request.zipCode)
        product_ids = cast("list[ProductId]", request.productIds)
        job = Job(_user_of(request), product_ids, request.topK, context, budget, done, texts)
        self._pipeline.begin(job)
        return job

    async def rank(self, request: PredictRequest, budget: Budget) -> Answer:
        """Answer one checked request, and wait for it.

        Raises:
            InvalidRequest: its context is not what the model takes.
            UnknownUser, DependencyError, ModelError: as the policy says.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        job = self.begin(request, budget, partial(settle, future))
        try:
            return await future
        finally:
            job.abandon()

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
        return await self._pipeline.rank(_user_of(request), product_ids)

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
        if self._preparation is not None:
            self._preparation.close()


def _user_of(request: PredictRequest) -> UserId | None:
    return None if request.userId is None else UserId(request.userId)


def _make_store(schema: FeatureSchema, settings: Settings, notes: Notes, size: int, preparer: Preparer | None) -> Store:
    connections = connect(settings.redis_url, size=size, timeout_s=settings.redis_timeout_ms / 1000)
    notes.sources.watch_redis(connections)
    store = RedisStore(connections, schema, notes.merged_fetch)
    if not settings.cache_mb:
        return UncachedStore(store, schema, preparer)
    cache = CachedStore(
        store,
        schema,
        size_bytes=settings.variant_cache_bytes,
        ttl_s=settings.cache_ttl_s,
        user_ttl_s=settings.cache_user_ttl_s,
        tracking=settings.cache_tracking,
        make_tracking=tracking_beside(connections, settings.redis_url, timeout_s=settings.deadline_ms / 1000),
        preparer=preparer,
    )
    notes.sources.watch_cache(cache)
    return cache
