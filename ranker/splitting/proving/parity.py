"""Parity: the parts of a graph give the scores of the whole, in the same order.

A difference is told as a share of the score, or of the range of the scores of its list where that is larger: near zero
a score has no size of its own, and what a ranking needs is its distance from the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ranker.errors import ModelFailed
from ranker.scoring.graph import proof
from ranker.scoring.split.model import SplitModel
from ranker.splitting.proving.probes import Block
from ranker.splitting.proving.request import Request, Round
from ranker.vectors.rows import Scores

TOLERANCE = 1e-5
"""The share by which a score may differ: sums in another order round otherwise."""
REQUESTS = 3
"""Requests of a round that is compared."""
TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True)
class Parity:
    """What the comparison has shown.

    Attributes:
        rows: How many scores were compared.
        difference: The largest difference, as a share.
        failure: What differs by more than may be; empty where nothing does.
    """

    rows: int
    difference: float
    failure: str = ""


def compare(score: proof.Score, split: SplitModel, blocks: Sequence[Block]) -> Parity:
    """Compare the scores of whole rows, and of rounds of several requests with prepared products.

    Args:
        score: The whole graph.
        split: Its parts.
        blocks: The rows.
    """
    rows, largest = 0, 0.0
    for block in blocks:
        for whole, parts in _lists(score, split, block):
            difference, failure = compare_list(whole, parts)
            rows, largest = rows + len(whole), max(largest, difference)
            if failure:
                return Parity(rows, largest, f"for rows {block.kind}, {failure}")
    return Parity(rows, largest)


def compare_list(whole: Scores, parts: Scores) -> tuple[float, str]:
    """Compare the scores of one list: return the largest difference as a share, and what is wrong with it if any is."""
    a, b = whole.astype(np.float64), parts.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if not (finite | same).all():
        at = int(np.argmin(finite | same))
        return 0.0, f"the whole graph gives {a[at]:g} and its parts {b[at]:g}"
    a, b = a[finite], b[finite]
    if not len(a):
        return 0.0, ""
    allowed = TOLERANCE * np.maximum(np.maximum(np.abs(a), np.ptp(a)), TINY)
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


def _lists(score: proof.Score, split: SplitModel, block: Block) -> Iterator[tuple[Scores, Scores]]:
    yield score(block.rows), split.score(block.rows)
    requests = Request.several(split.schema, block.rows, REQUESTS)
    try:
        whole = [score(request.matrix) for request in requests]
    except ModelFailed:  # what one row may say another may not, such as ids of one table
        return
    parts = np.split(Round(split, requests).score(), len(requests))
    yield from zip(whole, parts, strict=True)
