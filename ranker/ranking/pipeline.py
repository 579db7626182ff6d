"""Ranking pipeline: the request path in one method that reads aloud.

Owns the order of the steps, the deadline, and what becomes of an answer when a step fails. Knows nothing of HTTP,
Redis or ONNX: the store and the scorer are handed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from time import monotonic
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ranker.errors import DeadlineExceeded, DependencyError, ModelError, StoreUnavailable, UnknownUser
from ranker.ranking.answer import Answer, Failure
from ranker.ranking.matrix import Assembler
from ranker.ranking.order import MissingProduct, Order, order, order_with_missing, presentable
from ranker.ranking.timings import Moments
from ranker.scheduling.batching import Call, Submission
from ranker.vectors.rows import Features, Matrix, ProductId, Scores, UserId
from ranker.vectors.schema import FeatureSchema

ScoreMatrix = Callable[[Matrix], Awaitable[Scores]]
"""A matrix (n, F) to scores (n,)."""

FETCH_SHARE = 0.6
"""The part of the time left when it begins that fetching may use up, so that some is left to score default vectors."""


class FeatureStore(Protocol):
    """Source of the features of a request."""

    async def fetch(self, user_id: UserId, product_ids: Sequence[ProductId]) -> Features:
        """Return the user's row and the products' n rows, in order, in one round trip at most.

        Where a part of the store does not answer, its rows are `UNREAD`, or what was last known of them.

        Raises:
            StoreUnavailable: none of the features can be had now.
        """

    def held(self, user_id: UserId, product_ids: Sequence[ProductId]) -> Features | None:
        """Return what `fetch` would, if that takes no waiting; None if it does."""

    def fresh(self, user_id: UserId, product_ids: Sequence[ProductId]) -> npt.NDArray[np.bool_]:
        """Say which rows `fetch` would take from memory, shape (1 + n,), the user's first."""

    def remembered(self, user_id: UserId, product_ids: Sequence[ProductId]) -> Features:
        """Return what is known without asking anybody, possibly old; for when `fetch` fails."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Policy for what an answer has to do without.

    Attributes:
        deadline_s: Seconds a request may take.
        on_failure: `degrade` answers with substitutes when Redis, the runner or the model fails; `error` raises.
        missing_user: `default` ranks with the schema's default vector; `error` raises `UnknownUser`.
        missing_product: `default` scores the schema's default vector; `last` puts the product behind all that have
            features, in request order; `drop` leaves it out of the ranking.
    """

    deadline_s: float = 1.0
    on_failure: Literal["degrade", "error"] = "degrade"
    missing_user: Literal["default", "error"] = "default"
    missing_product: MissingProduct = "default"


class Budget(NamedTuple):
    """The time one request has.

    Attributes:
        started: When it arrived, by `time.monotonic`, which is the event loop's clock too.
        allowed_s: Seconds it may take, waiting for its turn included.
    """

    started: float
    allowed_s: float

    def fetch_deadline(self, began: float) -> float:
        """Return when fetching must be done that began at that time: a wait for a turn is not Redis' fault."""
        return began + FETCH_SHARE * (self.deadline - began)

    @property
    def deadline(self) -> float:
        """When scoring must be done."""
        return self.started + self.allowed_s


class Pipeline:
    """Ranks one user's products: fetch, assemble, score, order."""

    def __init__(self, schema: FeatureSchema, store: FeatureStore, score: ScoreMatrix, policy: Policy) -> None:
        self._store = store
        self._assembler = Assembler(schema)
        self._score = score
        self._policy = policy

    async def rank(
        self,
        user_id: UserId,
        product_ids: list[ProductId],
        top_k: int | None = None,
        context: Matrix | None = None,
        budget: Budget | None = None,
    ) -> Answer:
        """Rank n distinct products for one user.

        Args:
            user_id: Whose features lead each row.
            product_ids: The products, in the order of their ties.
            top_k: How many to return; all when None.
            context: What the request brings, shape (n, F - stored width), float32; None for defaults.
            budget: The time there is; the policy's, from now, when None.

        Raises:
            UnknownUser: the user has no usable features and the policy is `error`.
            DependencyError, ModelError: Redis, the runner or the model failed, or the deadline passed, and the policy
                is `error`.
        """
        began = monotonic()
        budget = budget or Budget(began, self._policy.deadline_s)
        policy = self._policy
        degraded: str | None = None
        failures: tuple[Failure, ...] = ()

        try:
            features = self._store.held(user_id, product_ids)
            if features is None:
                async with asyncio.timeout_at(budget.fetch_deadline(began)):
                    features = await self._store.fetch(user_id, product_ids)
                if features.unread is not None:
                    failures = (self._substituted(StoreUnavailable(features.unread), "fetch", budget),)
                    degraded = "features_unavailable"
        except (DependencyError, TimeoutError) as err:
            failures = (self._substituted(err, "fetch", budget),)
            degraded = "features_late" if isinstance(err, TimeoutError) else "features_unavailable"
            features = self._store.remembered(user_id, product_ids)
        fetched = monotonic()
        if not features.user.complete and degraded is None:
            if policy.missing_user == "error":
                raise UnknownUser(user_id)
            if features.products.statuses.all():
                degraded = "no_features"

        matrix = self._assembler.matrix(features, context)
        assembled = monotonic()

        call: Call | None = None
        finite = True
        try:
            scoring = self._score(matrix)
            async with asyncio.timeout_at(budget.deadline):
                scores = await scoring
            if isinstance(scoring, Submission):
                call = scoring.call
            finite = np.count_nonzero(np.isfinite(scores)) == len(scores)
        except (DependencyError, ModelError, TimeoutError) as err:
            failures += (self._substituted(err, "score", budget),)
            degraded = "scores_late" if isinstance(err, TimeoutError) else "scores_unavailable"
            scores = np.full(len(product_ids), np.nan, dtype=np.float32)
        scored = monotonic()

        positions, missing = self._order(scores, features, product_ids, top_k)
        ranking = _pick(product_ids, positions)
        shown = scores[positions] if finite else presentable(scores[positions])
        moments = Moments(budget.started, began, fetched, assembled, scored, monotonic())
        return Answer(ranking, shown, missing, degraded, features, scores, moments, matrix, call, failures, finite)

    def _order(
        self, scores: Scores, features: Features, product_ids: list[ProductId], top_k: int | None
    ) -> tuple[Order, list[ProductId]]:
        """Return the positions to show, best first, and the products that have no features."""
        if features.products.complete:
            return order(scores, top_k), []
        absent = features.products.statuses != 0
        (missing,) = absent.nonzero()
        positions = order_with_missing(scores, absent, self._policy.missing_product, top_k)
        return positions, _pick(product_ids, missing)

    def _substituted(self, err: DependencyError | ModelError | TimeoutError, stage: str, budget: Budget) -> Failure:
        """Return what is to be told of a failure; raise it where the policy wants errors."""
        failure = DeadlineExceeded(stage, budget.allowed_s * 1000) if isinstance(err, TimeoutError) else err
        if self._policy.on_failure == "error":
            raise failure from (err.__cause__ if failure is err else None)
        return Failure(failure.kind, str(failure))


def _pick(product_ids: list[ProductId], positions: Order) -> list[ProductId]:
    if len(positions) < 2:  # itemgetter of one position returns no tuple, of none fails
        return [product_ids[i] for i in positions.tolist()]
    return list(itemgetter(*positions.tolist())(product_ids))
