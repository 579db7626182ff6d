"""Kernel in numpy: what the compiled one does, for where that cannot be had, and to compare it with.

Gives the same bits as the compiled kernel. Knows nothing of ONNX.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ranker.scoring.split.parts import Masks, RowRequest
from ranker.scoring.split.trees.bits import WORD, Kind
from ranker.scoring.split.trees.conditions import Conditions
from ranker.scoring.split.trees.leaves import Leaves
from ranker.scoring.split.trees.prefixes import tabulate
from ranker.scoring.split.trees.scores import Aggregate, Sums
from ranker.vectors.rows import Matrix

BLOCK = 64
"""Rows that are asked at once, so that what is compared stays in the processor's cache."""


def prepare(leaves: Leaves) -> None:
    """Do nothing: there is nothing to compile."""


def clear(conditions: Conditions, part: Matrix, masks: Masks) -> None:
    """Clear what each row's values rule out, in masks of shape (n, words)."""
    for first in range(0, len(part), BLOCK):
        _clear_sorted(conditions, part[first : first + BLOCK], masks[first : first + BLOCK])
    for group, kind in enumerate(conditions.group_kind.tolist()):
        if kind in (Kind.OUTSIDE, Kind.AMONG):
            some = slice(*conditions.group_start[group : group + 2].tolist())
            values = part[:, conditions.group_column[group], None]
            against = _look_up(conditions, some, values) == (kind == Kind.AMONG)
            row, entry = np.nonzero(np.where(np.isnan(values), conditions.by_nan[some], against))
            _clear_entries(conditions, masks, row, some.start + entry)


def _clear_sorted(conditions: Conditions, rows: Matrix, masks: Masks) -> None:
    """Clear what entries that are sorted by threshold rule out: a row of their table, and the few after it."""
    begins, counts = [], []
    for prefixes in tabulate(conditions, masks.shape[1]):
        values = rows[:, prefixes.column]
        ruled = prefixes.thresholds.searchsorted(-values if prefixes.descends else values)
        at, more = np.divmod(ruled, prefixes.step)
        nan = np.isnan(values)
        at[nan], more[nan] = len(prefixes.table) - 1, 0
        masks &= prefixes.table[at]
        begins.append(prefixes.start + at * prefixes.step)
        counts.append(more)
    if begins:
        begin, count = np.concatenate(begins), np.concatenate(counts)
        row = np.repeat(np.tile(np.arange(len(rows)), len(begins)), count)
        within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        _clear_entries(conditions, masks, row, np.repeat(begin, count) + within)


def _clear_entries(
    conditions: Conditions, masks: Masks, row: npt.NDArray[np.int64], entry: npt.NDArray[np.int64]
) -> None:
    place = row * masks.shape[1] + conditions.word[entry]
    np.bitwise_and.at(masks.reshape(-1), place, conditions.keep[entry])


def _look_up(conditions: Conditions, some: slice, values: Matrix) -> npt.NDArray[np.bool_]:
    """Return which values are among the members of which entries, shape (rows, entries)."""
    among = np.zeros((len(values), some.stop - some.start), np.bool_)
    starts = conditions.member_start[some.start : some.stop + 1].tolist()
    for entry, (begin, end) in enumerate(pairwise(starts)):
        among[:, entry] = (values == conditions.member[begin:end]).any(axis=1)
    return among


def add_votes(leaves: Leaves, request: Masks, product: Masks, row_request: RowRequest) -> Sums:
    """Return the sums of the leaves that the rows reach, shape (n, targets).

    Raises:
        IndexError: a row is of a request that is not there.
    """
    if row_request.size and not 0 <= row_request.min() <= row_request.max() < len(request):
        raise IndexError("A row is of a request that is not there.")
    sums = np.empty((len(product), leaves.targets), leaves.weight.dtype)
    for first in range(0, len(product), BLOCK):
        some = slice(first, first + BLOCK)
        reached = _find_leaves(leaves, request[row_request[some]] & product[some])
        sums[some] = _sum_single(leaves, reached) if leaves.single else _sum_votes(leaves, reached)
    return sums


def _sum_single(leaves: Leaves, reached: npt.NDArray[np.int64]) -> Sums:
    votes = leaves.weight.take(reached)
    # One tree after another, in their order, as ONNX Runtime adds them.
    sums = np.zeros((len(reached), leaves.targets), votes.dtype)
    sums[:, leaves.target[0]] += np.add.accumulate(votes, axis=1, out=votes)[:, -1]
    return sums


def _sum_votes(leaves: Leaves, reached: npt.NDArray[np.int64]) -> Sums:
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
    up_to_lowest = np.subtract(masks, np.uint64(1))
    up_to_lowest ^= masks
    counts = np.bitwise_count(up_to_lowest)  # one more than the lowest bit's place; 64 when there is none
    first = leaves.tree_word[:-1]
    if len(first) == masks.shape[1]:
        reached: npt.NDArray[np.int64] = leaves.tree_leaf - 1 + counts
        return reached
    in_tree = np.arange(masks.shape[1]) - np.repeat(first, np.diff(leaves.tree_word))
    bit: npt.NDArray[np.int64] = np.where(masks == 0, np.iinfo(np.int64).max, counts + (in_tree * WORD - 1))
    bit = np.minimum(np.minimum.reduceat(bit, first, axis=1), np.diff(leaves.tree_word) * WORD)
    bit += leaves.tree_leaf
    return bit
