"""Pipeline: features → matrix → scores → order, each step for all requests of a round.

Owns the order of the steps, and what becomes of an answer whose scores are there, or are not. Knows nothing of HTTP,
Redis or ONNX: the store and the scorer are handed in. How rows are gathered `gathering` says, and what goes out with
which call of the model, `rounds`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import TypeVar

import numpy as np

from ranker.errors import DependencyError, ModelError
from ranker.ranking.answer import Answer
from ranker.ranking.gathering import FeatureStore, Gathering, GroupStore
from ranker.ranking.job import Budget, Job, Policy
from ranker.ranking.matrix import Assembler, GroupColumns
from ranker.ranking.order import Order, order, order_together, order_with_missing, pick, presentable
from ranker.ranking.rounds.entry import Entry, settle
from ranker.ranking.rounds.later_scores import ScoreMatrix, ScoreRound
from ranker.ranking.rounds.rounds import Rounds
from ranker.ranking.rounds.split_rows import Preparation, SplitAssembler
from ranker.ranking.timings import Moments
from ranker.scheduling.batching import Call
from ranker.vectors.rows import Matrix, ProductId, Scores, UserId
from ranker.vectors.schema import FeatureSchema

Outcome = TypeVar("Outcome")

MAX_ROWS = 2048
"""Rows of one call and of one look-up, unless told otherwise."""
SHARE = 8
"""Divisor of a call's rows: an entry's turn may fill that part of them, unless told otherwise."""


class Pipeline:
    """Ranks requests, in rounds.

    Args:
        schema: What the columns of a matrix are, and whether the rows of a request must go together.
        store: Where features come from.
        score: Scores a matrix.
        policy: What answers do without.
        max_rows: The most rows of one call, and of one look-up of several requests.
        share: The most rows a request adds to a call before the next one has its turn; an eighth of `max_rows` when
            None.
        on_call: Told the number of requests and rows of each call, for metrics.
        model: The model's tag, for its answers.
        groups: Where the rows of groups under keys of their own come from; None where the schema has none.
        preparation: Prepares products where the model is split; then the store's rows of products have the prepared
            columns behind them, and `score` takes `SplitRows`.
        prepared: Whether they have them, and `score` takes matrices all the same.
        score_alone: Scores a request's matrix while no other waits for the model; `score` does when None.

    Attributes:
        begin: Has a job ranked, or placed rows scored, in the next turn of the event loop, or as soon as can be.
    """

    def __init__(
        self,
        schema: FeatureSchema,
        store: FeatureStore,
        score: ScoreMatrix | ScoreRound,
        policy: Policy,
        *,
        max_rows: int = MAX_ROWS,
        share: int | None = None,
        on_call: Callable[[int, int], None] | None = None,
        model: str = "",
        groups: GroupStore | None = None,
        preparation: Preparation | None = None,
        prepared: bool = False,
        score_alone: ScoreMatrix | ScoreRound | None = None,
    ) -> None:
        self._policy = policy
        self._model = model
        share = max(max_rows // SHARE, 1) if share is None else share
        together = schema.rows == "together"
        self._split = None if preparation is None else SplitAssembler(schema, preparation)
        self._whole = Assembler(schema, prepared=prepared or self._split is not None)
        self._rounds = Rounds(
            self,
            score,
            width=schema.width if preparation is None else preparation.width,
            max_rows=max_rows,
            share=share,
            together=together,
            split=self._split is not None,
            on_call=on_call,
            score_alone=score_alone,
        )
        rows = self._split or self._whole, GroupColumns(schema)
        ready, has_user = self._rounds.join, schema.has_user
        self._gathering = Gathering(*rows, store, policy, max_rows, ready, groups, has_user=has_user)
        self.begin = self._gathering.begin

    @property
    def waiting(self) -> int:
        """Requests with rows that the model was not given yet."""
        return self._rounds.waiting

    async def rank(
        self,
        user_id: UserId | None,
        product_ids: list[ProductId],
        top_k: int | None = None,
        context: Matrix | None = None,
        budget: Budget | None = None,
        texts: Mapping[str, str | None] | None = None,
    ) -> Answer:
        """Rank n distinct products for one user, and wait for it.

        Args:
            user_id: Whose features lead each row; None for nobody's, the schema's defaults.
            product_ids: The products, in the order of their ties.
            top_k: How many to return; all when None.
            context: What the request brings, shape (n, F - stored width), float32; None for defaults.
            budget: The time there is; the policy's, from now, when None.
            texts: Values of the context that are parts of keys.

        Raises:
            UnknownUser: the user has no usable features and the policy is `error`.
            DependencyError, ModelError: Redis, the runner or the model failed, or the deadline passed, and the policy
                is `error`.
        """
        budget = budget or Budget(monotonic(), self._policy.deadline_s)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        job = Job(user_id, product_ids, top_k, context, budget, partial(settle, future), texts)
        return await self._ended(job, future)

    async def score(self, matrix: Matrix) -> Scores:
        """Have rows (n, F) scored in the calls that requests go out with, and wait for their scores (n,).

        Raises:
            DependencyError, ModelError: the runner or the model failed.
        """
        future: asyncio.Future[Scores] = asyncio.get_running_loop().create_future()
        entry = Entry(len(matrix), math.inf, partial(settle, future))
        if self._split is None:
            entry.place(matrix, 0)
        else:
            await self._split.place_whole(entry, matrix)
        return await self._ended(entry, future)

    async def close(self) -> None:
        """Cancel what is in progress, also for whoever waits for it."""
        await self._gathering.close()
        await self._rounds.close()

    async def _ended(self, entry: Entry, future: asyncio.Future[Outcome]) -> Outcome:
        self.begin(entry)
        try:
            return await future
        finally:
            entry.abandon()

    # Behind the model: the steps that `Rounds` takes.

    def scored(self, entries: Sequence[Entry]) -> None:
        """Order what has all its scores, and answer it."""
        now = monotonic()
        for entry, positions in zip(entries, order_together([entry.scores for entry in entries]), strict=True):
            if isinstance(entry, Job):
                try:
                    finite = entry.finite or bool(np.isfinite(entry.scores).all())
                    self._answer(entry, now, positions, entry.call, finite=finite)
                except Exception as err:  # one that cannot be answered must not fail the others
                    entry.end(err)
            else:
                entry.end(entry.scores)

    def failed(self, entry: Entry, err: BaseException) -> None:
        """Answer what the model gave no scores, as the policy says."""
        if not isinstance(entry, Job) or not isinstance(err, DependencyError | ModelError | TimeoutError):
            entry.end(err)
            return
        late = isinstance(err, TimeoutError)
        try:
            entry.substitute(self._policy, err, "score", "scores_late" if late else "scores_unavailable")
            entry.scores = np.full(entry.rows, np.nan, dtype=np.float32)
            self._answer(entry, monotonic(), order(entry.scores), None, finite=True)
        except Exception as raised:
            entry.end(raised)

    def _answer(self, job: Job, scored: float, positions: Order, call: Call | None, *, finite: bool) -> None:
        """Answer a job; `positions` are its products', best first, as if all had features."""
        features, scores, ids = job.features, job.scores, job.product_ids
        assert features is not None
        missing: list[ProductId] = []
        if not features.products.complete:
            absent = features.products.statuses != 0
            missing = pick(ids, *absent.nonzero())
            positions = order_with_missing(scores, absent, self._policy.missing_product)
        positions = positions[: job.top_k]
        ranking = pick(ids, positions)
        shown = scores[positions] if finite else presentable(scores[positions])
        moments = Moments(job.budget.started, job.began, job.fetched, job.assembled, scored, monotonic())
        rows = job.matrix if self._split is None else partial(self._whole.matrix, features, job.context)
        answer = (ranking, shown, missing, job.degraded, features, scores, moments, rows, call, job.failures)
        job.end(Answer(*answer, finite, self._model))
