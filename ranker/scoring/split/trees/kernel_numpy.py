"""Kernel in numpy: what the compiled one does, for where that cannot be had, and to compare it with.

Gives the same bits as the compiled kernel. Knows nothing of ONNX.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.scoring.split.parts import Masks, RowRequest
from ranker.scoring.split.trees.bits import WORD, Kind
from ranker.scoring.split.trees.conditions import Conditions
from ranker.scoring.split.trees.leaves import Leaves
from ranker.scoring.split.trees.scores import Aggregate, Sums
from ranker.vectors.rows import Matrix

BLOCK = 64
"""Rows that are asked at once, so that what is compared stays in the processor's cache."""


def prepare(leaves: Leaves) -> None:
    """Do nothing: there is nothing to compile."""


def clear(conditions: Conditions, part: Matrix, masks: Masks) -> None:
    """Clear what each row's values rule out, in masks of shape (n, words)."""
    words = masks.shape[1]
    flat = masks.reshape(-1)
    for first in range(0, len(part), BLOCK):
        rows = part[first : first + BLOCK]
        offsets = np.arange(first, first + len(rows)) * words
        for group, column in enumerate(conditions.group_column.tolist()):
            some = slice(*conditions.group_start[group : group + 2].tolist())
            values = rows[:, column, None]
            against = _decide(conditions, int(conditions.group_kind[group]), some, values)
            row, entry = np.nonzero(np.where(np.isnan(values), conditions.by_nan[some], against))
            np.bitwise_and.at(flat, offsets[row] + conditions.word[some][entry], conditions.keep[some][entry])


def _decide(conditions: Conditions, kind: int, some: slice, values: Matrix) -> npt.NDArray[np.bool_]:
    """Return which entries rule their leaves out, shape (rows, entries)."""
    thresholds = conditions.threshold[some]
    if kind == Kind.ABOVE:
        return values > thresholds
    if kind == Kind.BELOW:
        return values < thresholds
    among = np.zeros((len(values), len(thresholds)), np.bool_)
    starts = conditions.member_start[some.start : some.stop + 1].tolist()
    for entry, (begin, end) in enumerate(pairwise(starts)):
        among[:, entry] = (values == conditions.member[begin:end]).any(axis=1)
    return among if kind == Kind.AMONG else ~among


def add_votes(leaves: Leaves, request: Masks, product: Masks, row_request: RowRequest) -> Sums:
    """Return the sums of the leaves that the rows reach, shape (n, targets).

    Raises:
        IndexError: a row is of a request that is not there.
    """
    if row_request.size and not 0 <= row_request.min() <= row_request.max() < len(request):
        raise IndexError("A row is of a request that is not there.")
    reached = _find_leaves(leaves, request[row_request] & product)
    if leaves.single:
        votes = leaves.weight[reached]
        # One tree after another, in their order, as ONNX Runtime adds them.
        sums: npt.NDArray[Any] = np.add.accumulate(votes, axis=1)[:, -1:] + votes.dtype.type(0)
        return sums
    counts = leaves.start[reached + 1] - leaves.start[reached]
    most = np.arange(counts.max(initial=0))
    row, tree, nth = np.nonzero(most < counts[:, :, None])
    vote = leaves.start[reached[row, tree]] + nth
    fill, combine = _AGGREGATES[leaves.aggregate]
    sums = np.full((len(reached), leaves.targets), fill, leaves.weight.dtype)
    combine.at(sums, (row, leaves.target[vote]), leaves.weight[vote])
    return sums


_AGGREGATES: dict[int, tuple[float, np.ufunc]] = {
    Aggregate.SUM: (0.0, np.add),
    Aggregate.AVERAGE: (0.0, np.add),
    Aggregate.MIN: (np.nan, np.fmin),  # NaN stays where no leaf votes
    Aggregate.MAX: (np.nan, np.fmax),
}


def _find_leaves(leaves: Leaves, masks: Masks) -> npt.NDArray[np.int64]:
    """Return the leaf that each row reaches in each tree, shape (n, trees): the lowest bit that is set."""
    lowest = masks & (~masks + np.uint64(1))
    bit = np.bitwise_count(lowest - np.uint64(1)).astype(np.int64)
    first = leaves.tree_word[:-1]
    if len(first) < masks.shape[1]:
        in_tree = np.arange(masks.shape[1]) - np.repeat(first, np.diff(leaves.tree_word))
        bit = np.where(masks == 0, np.iinfo(np.int64).max, bit + in_tree * WORD)
        bit = np.minimum(np.minimum.reduceat(bit, first, axis=1), np.diff(leaves.tree_word) * WORD)
    return leaves.tree_leaf + bit
