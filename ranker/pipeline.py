"""The request path in one method that reads aloud.

Owns the order of the steps, the deadline, and what becomes of an answer when a step fails. Knows nothing of HTTP,
Redis or ONNX: the store and the scorer are handed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from operator import itemgetter
from time import monotonic
from typing import Literal, NamedTuple

import numpy as np

from ranker.assembler import Assembler
from ranker.batching import Call, Submission
from ranker.encoding import Features, Matrix, ProductId, Scores, UserId
from ranker.errors import DeadlineExceeded, DependencyError, ModelError, StoreUnavailable, UnknownUser
from ranker.ranking import MissingProduct, Order, order, order_with_missing
from ranker.schema import FeatureSchema
from ranker.store import FeatureStore
from ranker.timings import Moments, Timings

ScoreMatrix = Callable[[Matrix], Awaitable[Scores]]
"""A matrix (n, F) to scores (n,)."""

FETCH_SHARE = 0.6
"""The part of the time left when it begins that fetching may use up, so that some is left to score default vectors."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What an answer does without.

    Attributes:
        deadline_s: Seconds a request may take.
        on_failure: `degrade` answers with substitutes when Redis or the runner fails; `error` raises.
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


class Answer(NamedTuple):
    """A ranking and how it came about.

    Attributes:
        ranking: Product ids, best first.
        scores: Shape (len(ranking),), float32; NaN where there is none.
        missing: Products without usable features, in request order.
        degraded_reason: A stable word, or None for a full answer.
        features: What was scored, for counting.
        row_scores: Shape (n,), float32: the score of every product, in request order; NaN where there is none.
        moments: When each step was done.
        matrix: What the model was given, shape (n, F), float32; nobody writes to it any more.
        call: The call of the model that scored it, the last one where it took several; None where that is not known.
    """

    ranking: list[ProductId]
    scores: Scores
    missing: list[ProductId]
    degraded_reason: str | None
    features: Features
    row_scores: Scores
    moments: Moments
    matrix: Matrix
    call: Call | None = None

    def timings(self, rendered: float | None = None) -> Timings:
        """Return how long each step took, with the bytes made at `rendered`, by `time.monotonic`, if they are."""
        reading = self.features.reading
        return self.moments.timings(
            0.0 if reading is None else reading.decode_s, self.moments.ranked if rendered is None else rendered
        )


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

        try:
            features = self._store.held(user_id, product_ids)
            if features is None:
                async with asyncio.timeout_at(budget.fetch_deadline(began)):
                    features = await self._store.fetch(user_id, product_ids)
                if features.unread is not None:
                    degraded = self._substitute(
                        StoreUnavailable(features.unread), "fetch", budget, "features_unavailable", "features_late"
                    )
        except (DependencyError, TimeoutError) as err:
            degraded = self._substitute(err, "fetch", budget, "features_unavailable", "features_late")
            features = self._store.remembered(user_id, product_ids)
        fetched = monotonic()
        if not features.user.complete and policy.missing_user == "error" and degraded is None:
            raise UnknownUser(user_id)

        matrix = self._assembler.matrix(features, context)
        assembled = monotonic()

        call: Call | None = None
        try:
            scoring = self._score(matrix)
            async with asyncio.timeout_at(budget.deadline):
                scores = await scoring
            if isinstance(scoring, Submission):
                call = scoring.call
        except (DependencyError, ModelError, TimeoutError) as err:
            degraded = self._substitute(err, "score", budget, "scores_unavailable", "scores_late")
            scores = np.full(len(product_ids), np.nan, dtype=np.float32)
        scored = monotonic()

        positions, missing = self._order(scores, features, product_ids, top_k)
        ranking = _pick(product_ids, positions)
        moments = Moments(budget.started, began, fetched, assembled, scored, monotonic())
        return Answer(ranking, scores[positions], missing, degraded, features, scores, moments, matrix, call)

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

    def _substitute(self, err: Exception, stage: str, budget: Budget, unavailable: str, late: str) -> str:
        """Return why the answer is degraded, or raise where the policy wants errors."""
        if self._policy.on_failure == "degrade":
            return late if isinstance(err, TimeoutError) else unavailable
        if isinstance(err, TimeoutError):
            raise DeadlineExceeded(stage, budget.allowed_s * 1000) from None
        raise err


def _pick(product_ids: list[ProductId], positions: Order) -> list[ProductId]:
    if len(positions) < 2:  # itemgetter of one position returns no tuple, of none fails
        return [product_ids[i] for i in positions.tolist()]
    return list(itemgetter(*positions.tolist())(product_ids))
