"""Explainer of one request: the ranking as the pipeline makes it, watched, and then what each feature adds.

Owns what is noted on the way, and that an explanation never holds up a ranking: its rows are scored a few at a time,
and only as long as its caller waits. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ranker.api.explain import ExplainRequest, Limit
from ranker.errors import DependencyError, ModelError, RankerError
from ranker.ranking.answer import Answer
from ranker.ranking.context.key_texts import KeyTexts
from ranker.ranking.context.reader import ContextReader
from ranker.ranking.explain.ablation import Ablation, Cells, Provenance, choose_explained, edit, read_edits
from ranker.ranking.gathering import FeatureStore, GroupStore
from ranker.ranking.job import Budget, Policy
from ranker.ranking.pipeline import Pipeline
from ranker.vectors.rows import Features, Matrix, ProductId, RowStatus, Scores, UserId
from ranker.vectors.schema import FeatureSchema

CHUNK_ROWS = 128
"""Rows of one turn: what a ranking that arrives meanwhile has to wait for, like any request of a hundred products."""


Score = Callable[[Matrix], Awaitable[Scores]]
"""A matrix (n, F) to scores (n,)."""
Outputs = Callable[[Matrix], Mapping[str, Scores]]
"""A matrix (n, F) to what each single output of the graph gives for its rows (n,), by name; it may block."""


class WatchableStore(FeatureStore, Protocol):
    """Source of the features of a request that says whence it has them."""

    def fresh(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> npt.NDArray[np.bool_]:
        """Say which rows `fetch` would take from memory, shape (1 + n,), the user's first."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A ranking and why it is so.

    Attributes:
        model: The tag of the model that ranked.
        schema: The model's.
        answer: The ranking.
        ranked: The rows of `answer.ranking` in `matrix`.
        matrix: What was scored, edits included, shape (n, F), float32.
        provenances: Where each vector came from, 1 + n, the user's first.
        shown: The first of `ranked`, whose features are shown.
        contributions: Shape (k, F), float32, for the first k of `shown`.
        limit: Why k is less than `ranked` has; None when it is not.
        failure: What went wrong, in sentences; None when nothing did.
        explain_s: Seconds it took beside the ranking.
        outputs: What each single output of the graph gave for the rows of `matrix`, by name; empty where the score is
            the only one.
    """

    model: str
    schema: FeatureSchema
    answer: Answer
    ranked: Cells
    matrix: Matrix
    provenances: list[Provenance]
    shown: Cells
    contributions: Matrix
    limit: Limit | None
    failure: str | None
    explain_s: float
    outputs: Mapping[str, Scores]


class Explainer:
    """Explains rankings.

    Args:
        model: The model's tag.
        schema: The model's.
        store: Where features come from.
        score: The way to the model, in the calls that rankings go out with.
        policy: As rankings have it.
        groups: Where the rows of groups under keys of their own come from; None where the schema has none.
        prepared: Whether the store's rows of products have prepared columns.
        outputs: What gives the single outputs, in a thread; None where there is one.
    """

    def __init__(
        self,
        model: str,
        schema: FeatureSchema,
        store: WatchableStore,
        score: Score,
        policy: Policy,
        groups: GroupStore | None = None,
        *,
        prepared: bool = False,
        outputs: Outputs | None = None,
    ) -> None:
        self._outputs = outputs
        self._prepared = prepared
        self._model = model
        self._schema = schema
        self._widths = [feature.width for group in schema.groups.values() for feature in group.features]
        self._store = store
        self._score = score
        self._policy = policy
        self._context = ContextReader(schema)
        self._groups = groups
        self._texts = KeyTexts(schema)

    async def explain(self, request: ExplainRequest, budget: Budget) -> Explanation:
        """Rank the n products of a checked request as the pipeline does, and explain the first of them.

        Raises:
            InvalidRequest: its context or overrides are not what the model takes.
            UnknownUser, DependencyError, ModelError: as the pipeline does.
        """
        user_id = None if request.userId is None else UserId(request.userId)
        product_ids = [ProductId(i) for i in request.productIds]
        n = len(product_ids)
        context = self._context.read(request.context, request.productContext, request.zipCode, n)
        overrides = request.overrides
        edits = read_edits(self._schema, overrides.user, overrides.products, product_ids) if overrides else []
        store = _WatchedStore(self._store)

        def score(matrix: Matrix) -> Awaitable[Scores]:
            edit(matrix, edits)
            return self._score(matrix)

        how: dict[str, Any] = {"max_rows": n, "share": n, "groups": self._groups, "prepared": self._prepared}
        pipeline = Pipeline(self._schema, store, score, self._policy, **how)  # all rows in one call
        texts = self._texts.read(request.context, request.zipCode)
        try:
            answer = await pipeline.rank(user_id, product_ids, request.topK, context, budget, texts)
        finally:
            await pipeline.close()  # where the caller is gone, or its time up
        began = monotonic()
        matrix = answer.matrix
        edit(matrix, edits)  # where its time was up before the model was asked; otherwise they stand there
        row_of = {product_id: row for row, product_id in enumerate(product_ids)}
        ranked = np.array([row_of[product_id] for product_id in answer.ranking], dtype=np.intp)
        shown = choose_explained(ranked, self._schema.width)
        asked = None if self._outputs is None else _begin(self._outputs, matrix)
        try:
            contributions, limit, failure = await self._contributions(matrix, answer.row_scores, shown, budget)
            outputs, no_outputs = await _outputs_in_time(asked, budget)
        finally:
            if asked is not None:
                asked.cancel()
        failures = [*(each.sentence for each in answer.failures), *filter(None, (failure, no_outputs))]
        if limit is None and len(shown) < len(ranked):
            limit = "products"
        provenances = store.provenances(answer.features)
        if user_id is None or not self._schema.has_user:
            provenances[0] = Provenance("default", "no_user_id" if self._schema.has_user else "no_user_features")
        seconds = monotonic() - began
        failed = " ".join(failures) or None
        explained = (answer, ranked, matrix, provenances, shown, contributions, limit, failed, seconds)
        return Explanation(self._model, self._schema, *explained, outputs)

    async def _contributions(
        self, matrix: Matrix, scores: Scores, shown: Cells, budget: Budget
    ) -> tuple[Matrix, Limit | None, str | None]:
        """Return what each feature adds for as many rows as can be told, (k, F), why not for more, and what failed."""
        ablation = Ablation(matrix, shown, self._schema.defaults, self._widths)
        ablated: list[Scores] = [np.zeros(0, dtype=np.float32)]
        limit: Limit | None = "rows" if ablation.complete < len(shown) else None
        if self._schema.rows == "together":
            return np.zeros((0, self._schema.width), dtype=np.float32), "together", None
        if len(shown) and np.isnan(scores[shown]).all():
            return np.zeros((0, self._schema.width), dtype=np.float32), "scores", None
        failure: str | None = None
        try:
            async with asyncio.timeout_at(budget.deadline):
                for chunk in ablation.chunks(CHUNK_ROWS):
                    ablated.append(await self._score(chunk))  # noqa: PERF401  # what is scored when time is up counts
        except TimeoutError:
            limit = "deadline"
        except (DependencyError, ModelError) as err:
            limit, failure = "scores", str(err)
        return ablation.contributions(scores, np.concatenate(ablated)), limit, failure


def _begin(outputs: Outputs, matrix: Matrix) -> asyncio.Future[Mapping[str, Scores]]:
    """Have the outputs computed in a thread, which may open the graph first."""
    return asyncio.get_running_loop().run_in_executor(None, outputs, matrix)


async def _outputs_in_time(
    asked: asyncio.Future[Mapping[str, Scores]] | None, budget: Budget
) -> tuple[Mapping[str, Scores], str | None]:
    """Return the outputs, or none and why."""
    if asked is None:
        return {}, None
    await asyncio.wait([asked], timeout=max(0.0, budget.deadline - asyncio.get_running_loop().time()))
    if not asked.done():
        return {}, "The single outputs took longer than the deadline; where the graph was being opened, ask again."
    try:
        return asked.result(), None
    except (RankerError, OSError) as err:
        return {}, f"The single outputs could not be had: {err}"


class _WatchedStore:
    """A store that notes where rows come from."""

    def __init__(self, store: WatchableStore) -> None:
        self._store = store
        self._in_memory = np.zeros(0, dtype=np.bool_)
        self._failed = False

    async def fetch(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
        return await self._store.fetch(user_id, product_ids)

    def held(self, asked: Sequence[tuple[UserId | None, Sequence[ProductId]]]) -> Sequence[Features | None]:
        (one,) = asked
        self._in_memory = self._store.fresh(*one)
        return self._store.held(asked)

    def remembered(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
        self._failed = True
        return self._store.remembered(user_id, product_ids)

    def provenances(self, features: Features) -> list[Provenance]:
        """Return where each row of what was had came from, the user's first."""
        statuses = np.concatenate((features.user.statuses, features.products.statuses)).tolist()
        in_memory = (self._in_memory | self._failed).tolist()
        return [self._provenance(RowStatus(s), kept) for s, kept in zip(statuses, in_memory, strict=True)]

    def _provenance(self, status: RowStatus, in_memory: bool) -> Provenance:
        reason = say_why(status)
        return Provenance("default" if reason else "cache" if in_memory else "redis", reason)


def say_why(status: RowStatus) -> str | None:
    """Return the word for why a row is the default; None where it was found."""
    return {RowStatus.FOUND: None, RowStatus.UNREAD: "unavailable"}.get(status, status.name.lower())
