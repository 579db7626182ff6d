"""Parity: the parts of a graph give the scores of the whole, in the same order.

A difference is told as a share of the score, or of the range of the scores of its list where that is larger: near zero
a score has no size of its own, and what a ranking needs is its distance from the others. Rows that the whole graph
itself scores otherwise where they lie elsewhere in memory have no score to compare with: ONNX Runtime takes the largest
of several numbers past some NaN and not past others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ranker.errors import ModelFailed
from ranker.importing.splitting.proving.probes import Block
from ranker.importing.splitting.proving.request import Request, Round
from ranker.scoring.graph import proof
from ranker.scoring.split.model import SplitModel
from ranker.vectors.rows import Matrix, Scores

TOLERANCE = 1e-5
"""The share by which a score may differ: sums in another order round otherwise."""
REQUESTS = 3
"""Requests of a round that is compared."""
TINY, EPSILON = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).eps)
PLACES = 16
"""Places in memory at which an unsteady row shows: as many as there are values in the widest register."""


@dataclass(frozen=True, slots=True)
class Parity:
    """Outcome of the comparison.

    Attributes:
        rows: How many scores were compared.
        unsteady: How many were left out, for the whole graph gives several.
        difference: The largest difference, as a share.
        failure: What differs by more than may be; empty where nothing does.
    """

    rows: int
    difference: float
    failure: str = ""
    unsteady: int = 0


def compare(score: proof.Score, split: SplitModel, blocks: Sequence[Block], *, ends: bool = False) -> Parity:
    """Compare the scores of whole rows, and of rounds of several requests with prepared products.

    Args:
        score: The whole graph.
        split: Its parts.
        blocks: The rows.
        ends: Whether scores are made of curves that end, such as a sigmoid: at their ends float32 has no more than the
            steps of the largest scores.
    """
    resolution = 2 * EPSILON * _largest(score, blocks) if ends else 0.0
    rows, unsteady, largest = 0, 0, 0.0
    for block in blocks:
        for matrix, whole, parts in _lists(score, split, block):
            difference, failure = compare_list(whole, parts, resolution)
            if failure and not (steady := find_steady(score, matrix)).all():
                whole, parts, unsteady = whole[steady], parts[steady], unsteady + int(np.count_nonzero(~steady))
                difference, failure = compare_list(whole, parts, resolution)
            rows, largest = rows + len(whole), max(largest, difference)
            if failure:
                return Parity(rows, largest, f"for rows {block.kind}, {failure}", unsteady)
    return Parity(rows, largest, "", unsteady)


def find_steady(score: proof.Score, rows: Matrix) -> npt.NDArray[np.bool_]:
    """Return which rows (n, F) have one score wherever they lie in memory, shape (n,)."""
    n, width = rows.shape
    scores = score(rows)
    steady = np.ones(n, dtype=np.bool_)
    memory = np.empty(rows.size + 2 * PLACES, dtype=np.float32)
    first = -memory.ctypes.data // rows.itemsize % PLACES
    for place in range(PLACES):
        start = first + (0 if width % 2 else place)  # so that rows that are turned lie at each place in turn
        turned = memory[start : start + rows.size].reshape(n, width)
        turned[:] = np.roll(rows, place, axis=0)
        again = np.roll(score(turned), -place)
        steady &= np.isclose(again, scores, rtol=TOLERANCE, atol=0.0, equal_nan=True)
    return steady


def compare_list(whole: Scores, parts: Scores, resolution: float = 0.0) -> tuple[float, str]:
    """Compare the scores of one list.

    Args:
        whole: The whole graph's, shape (n,).
        parts: Its parts'.
        resolution: By how much they may differ in any case.

    Returns:
        The largest difference as a share, and what is wrong with it if any is.
    """
    a, b = whole.astype(np.float64), parts.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if not (finite | same).all():
        at = int(np.argmin(finite | same))
        return 0.0, f"the whole graph gives {a[at]:g} and its parts {b[at]:g}"
    a, b = a[finite], b[finite]
    if not len(a):
        return 0.0, ""
    allowed = np.maximum(TOLERANCE * np.maximum(np.maximum(np.abs(a), np.ptp(a)), TINY), resolution)
    differences = np.abs(a - b) / allowed * TOLERANCE
    at = int(np.argmax(differences))
    difference = float(differences[at])
    if difference > TOLERANCE:
        return difference, f"the whole graph gives {a[at]:.7g} and its parts {b[at]:.7g}"
    order = np.argsort(-a, kind="stable")
    behind, lowest = b[order], np.minimum.accumulate(b[order])
    for i in (1 + np.flatnonzero(behind[1:] > lowest[:-1])).tolist():  # one that is ahead of others in parts alone
        passed = np.flatnonzero(behind[:i] < behind[i])
        gap = a[order[passed]] - a[order[i]]
        if (gap > np.maximum(allowed[order[passed]], allowed[order[i]])).any():
            return difference, f"scores {gap.max():.3g} apart come out in another order"
    return difference, ""


def _largest(score: proof.Score, blocks: Sequence[Block]) -> float:
    """Return the largest score that is a number, without its sign."""
    scores = np.abs(np.concatenate([score(block.rows) for block in blocks]))
    return float(scores[np.isfinite(scores)].max(initial=0.0))


def _lists(score: proof.Score, split: SplitModel, block: Block) -> Iterator[tuple[Matrix, Scores, Scores]]:
    yield block.rows, score(block.rows), split.score(block.rows)
    requests = Request.several(split.schema, block.rows, REQUESTS)
    try:
        whole = [score(request.matrix) for request in requests]
    except ModelFailed:  # what one row may say another may not, such as ids of one table
        return
    parts = np.split(Round(split, requests).score(), len(requests))
    yield from zip([request.matrix for request in requests], whole, parts, strict=True)
