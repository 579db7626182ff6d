"""Job: one request to rank, and what it may do without.

Owns the time that a request has. Knows nothing of how it is ranked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ranker.errors import DeadlineExceeded, DependencyError, ModelError
from ranker.ranking.answer import Answer, Failure
from ranker.ranking.order import MissingProduct
from ranker.ranking.rounds.entry import Entry
from ranker.vectors.rows import Features, Matrix, ProductId, UserId

FETCH_SHARE = 0.6
"""The part of the time left when it begins that fetching may use up, so that some is left to score default vectors."""


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


class Job(Entry):
    """A request to rank n distinct products for one user.

    Args:
        user_id: Whose features lead each row; None for nobody's, the schema's defaults.
        product_ids: The products, in the order of their ties.
        top_k: How many to return; all when None.
        context: What the request brings, shape (n, F - stored width), float32; None for defaults.
        budget: The time there is.
        done: Told the answer, or the exception why there is none; once.
        texts: Values of its context that are parts of keys; None where no key has any.

    Attributes:
        began: When its features were first looked for; this and the next two by `time.monotonic`.
        fetched: When they were there.
        assembled: When its rows were.
        features: What was found.
        degraded: Why the answer is a substitute, or rests on one; None for a full one.
        failures: What went wrong on the way.
    """

    __slots__ = (
        "assembled",
        "began",
        "budget",
        "context",
        "degraded",
        "failures",
        "features",
        "fetched",
        "product_ids",
        "reading",
        "texts",
        "top_k",
        "user_id",
    )

    def __init__(
        self,
        user_id: UserId | None,
        product_ids: list[ProductId],
        top_k: int | None,
        context: Matrix | None,
        budget: Budget,
        done: Callable[[Answer | BaseException], None],
        texts: Mapping[str, str | None] | None = None,
    ) -> None:
        super().__init__(len(product_ids), budget.deadline, done)
        self.user_id = user_id
        self.product_ids = product_ids
        self.top_k = top_k
        self.context = context
        self.budget = budget
        self.texts = texts
        self.began = self.fetched = self.assembled = 0.0
        self.features: Features | None = None
        self.degraded: str | None = None
        self.failures: tuple[Failure, ...] = ()
        self.reading: asyncio.Task[None] | None = None
        """What reads what was not held; the job is in no round meanwhile."""

    def abandon(self) -> None:
        """Let nobody wait for it any more, nor read what it lacks."""
        super().abandon()
        if self.reading is not None:
            self.reading.cancel()

    def substitute(
        self, policy: Policy, err: DependencyError | ModelError | TimeoutError, stage: str, reason: str
    ) -> None:
        """Take note of why a part of the answer is a substitute; raise where the policy wants errors."""
        failure = DeadlineExceeded(stage, self.budget.allowed_s * 1000) if isinstance(err, TimeoutError) else err
        if policy.on_failure == "error":
            raise failure from (err.__cause__ if failure is err else None)
        self.failures += (Failure(failure.kind, str(failure)),)
        self.degraded = reason
