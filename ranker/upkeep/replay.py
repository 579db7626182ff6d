"""Replay: ranks logged requests again, and compares with what was served, bit for bit. Owns what counts as equal.

ONNX Runtime gives a row the same bits in a call of two rows as in one of thousands, but sometimes others when it is
alone in a call. How a request was merged is not known for each row, so its rows are scored together first, and those
that differ once more alone: what either way gives is what the service can have got.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.errors import ForeignRecord
from ranker.ranking.order import order_with_missing
from ranker.scoring.loaded import LoadedModel
from ranker.telemetry.feature_log.record import Record, widths_of
from ranker.vectors.rows import Matrix, Scores

EXAMPLES = 5
NOT_A_NUMBER_ULPS = 1 << 32
"""Distance of a number from NaN: farther than from any number."""


@dataclass(slots=True)
class Replayed:
    """Outcome of a replay: the requests that one model served.

    Attributes:
        served: How the model scores: `whole` or `in parts`.
        requests: How many.
        unscored: Those that were answered without scores, degraded; only their ranking is compared.
        rows: Rows that were scored again.
        equal_rows: Those with the same bits.
        largest_ulps: The largest difference of the others, in units in the last place of float32.
        largest_difference: The largest difference as a number.
        equal_rankings: Requests whose ranking is the one that was served.
        failed: Requests that differ by more than is allowed.
        examples: A sentence for each of the first of them.
    """

    served: str = "whole"
    requests: int = 0
    unscored: int = 0
    rows: int = 0
    equal_rows: int = 0
    largest_ulps: int = 0
    largest_difference: float = 0.0
    equal_rankings: int = 0
    failed: int = 0
    examples: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def replay(
    records: Iterable[Record], model_for: Callable[[str], LoadedModel], max_ulps: int = 0
) -> dict[str, Replayed]:
    """Rank records again.

    Args:
        records: As read.
        model_for: Tag → the model to rank with.
        max_ulps: How far a score may be from the logged one; a ranking that differs fails in any case.

    Returns:
        By the tag of the model that served.

    Raises:
        ForeignRecord: a model takes other columns than were logged.
        ModelError: a model cannot score the rows.
    """
    found: dict[str, Replayed] = {}
    for record in records:
        model = model_for(record.model)
        replayed = found.setdefault(record.model, Replayed(model.served_as))
        if (model.schema.fingerprint, widths_of(model.schema)) != (record.fingerprint, record.widths):
            raise ForeignRecord(record.model, record.fingerprint, record.widths, model.schema.fingerprint)
        _compare(record, model, replayed, max_ulps)
    return found


def ulps(a: Scores, b: Scores) -> npt.NDArray[np.int64]:
    """Return how many float32 numbers apart each two are, shape (n,): 0 for the same bits, and for two NaN."""
    apart: npt.NDArray[np.int64] = np.abs(_ordinals(a) - _ordinals(b))
    nan = np.isnan(a), np.isnan(b)
    apart[nan[0] != nan[1]] = NOT_A_NUMBER_ULPS
    apart[nan[0] & nan[1]] = 0
    return apart


def _compare(record: Record, model: LoadedModel, replayed: Replayed, max_ulps: int) -> None:
    replayed.requests += 1
    scores, worst = record.scores, 0
    if record.degraded_reason is not None and record.degraded_reason.startswith("scores_"):
        replayed.unscored += 1
    else:
        scores, apart = _scored_again(model, record.matrix, record.scores)
        worst = int(apart.max())
        replayed.rows += len(scores)
        replayed.equal_rows += len(scores) - int(np.count_nonzero(apart))
        if worst > 0:
            with np.errstate(invalid="ignore"):  # two infinities do not differ
                difference = np.abs(scores.astype(np.float64) - record.scores)
            replayed.largest_ulps = max(replayed.largest_ulps, worst)
            replayed.largest_difference = max(replayed.largest_difference, float(np.nanmax(difference, initial=0.0)))
    positions = order_with_missing(scores, record.product_statuses != 0, record.missing_product, record.top_k)
    same_ranking = [record.product_ids[i] for i in positions.tolist()] == record.ranking
    replayed.equal_rankings += same_ranking
    if worst > max_ulps or not same_ranking:
        replayed.failed += 1
        if len(replayed.examples) < EXAMPLES:
            replayed.examples.append(_describe(record, scores, worst, same_ranking))


def _scored_again(model: LoadedModel, matrix: Matrix, served: Scores) -> tuple[Scores, npt.NDArray[np.int64]]:
    """Return scores, each the nearer one of a call of many rows and a call of one, and how far they are away."""
    if model.schema.rows == "together":  # as it was served: its own list in a call of its own
        scores = model.score(matrix)
        return scores, ulps(scores, served)
    together = model.score(np.concatenate((matrix, matrix[:1])))[:-1]  # never alone
    apart = ulps(together, served)
    scores = together.copy()
    for i in np.flatnonzero(apart).tolist():
        alone = model.score(matrix[i : i + 1])
        if (distance := ulps(alone, served[i : i + 1])[0]) < apart[i]:
            scores[i], apart[i] = alone[0], distance
    return scores, apart


def _describe(record: Record, scores: Scores, worst: int, same_ranking: bool) -> str:
    whose = "nobody" if record.user_id is None else f"user {record.user_id!r}"
    sentence = f"request {record.request_id!r} of {whose}: "
    if not worst:
        return f"{sentence}equal scores, another ranking"
    i = int(ulps(scores, record.scores).argmax())
    sentence += (
        f"product {record.product_ids[i]!r} scored {float(scores[i])!r}, but {float(record.scores[i])!r} was served "
        f"({_away(worst)})"
    )
    return sentence if same_ranking else f"{sentence}; another ranking"


def _away(distance: int) -> str:
    return "one is no number" if distance == NOT_A_NUMBER_ULPS else f"{distance:,} ulp"


def _ordinals(values: Scores) -> npt.NDArray[np.int64]:
    """Return integers in the order of the floats, one apart where these are neighbours."""
    bits = np.ascontiguousarray(values).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -1 - (bits & 0x7FFFFFFF), bits)
