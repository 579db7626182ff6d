"""Masks compiled by numba: a few rows one by one, up to the last condition that clears; many in blocks, word by word.

Owns the loops over conditions, and the types that they are compiled for before the first request. Knows nothing of
leaves.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from functools import cache
from math import isnan
from typing import Any

import numba
import numpy as np
from numba import types

from ranker.scoring.split.parts import Masks
from ranker.scoring.split.trees.bits import Kind
from ranker.scoring.split.trees.conditions import Conditions
from ranker.vectors.rows import Matrix

_ABOVE, _BELOW, _AMONG = int(Kind.ABOVE), int(Kind.BELOW), int(Kind.AMONG)
LEAST_BLOCK = 16
"""Rows from which on a condition is asked of all at once; fewer are quicker one by one, up to the last that clears."""
_LANES, _WORDS = 128, 8
"""Rows and words whose masks are made at a time: they stay in the processor's first cache."""


def prepare() -> None:
    """Compile both ways; quick when they were compiled before."""
    _compile_clear()
    _compile_clear_blocks()


def clear(conditions: Conditions, part: Matrix, masks: Masks) -> None:
    """Clear what each row's values rule out, in masks of shape (n, words)."""
    c = conditions
    if len(part) >= LEAST_BLOCK:
        w = c.by_word
        _compile_clear_blocks()(
            part, masks, w.start, w.entry, w.column, w.kind, w.threshold, w.by_nan, w.keep, c.member_start, c.member
        )
        return
    _compile_clear()(
        part, masks, c.group_column, c.group_kind, c.group_start,
        c.threshold, c.by_nan, c.word, c.keep, c.member_start, c.member,
    )  # fmt: skip


def array_type(kind: Any, axes: int, layout: str = "C", readonly: bool = True) -> Any:
    """Return the type of an array; one that is read may be writable or not, and lie in any layout that `A` allows."""
    return types.Array(kind, axes, layout, readonly=readonly)


@cache
def _compile_clear() -> Any:
    ints, floats = array_type(types.int64, 1), array_type(types.float32, 1)
    part, masks = array_type(types.float32, 2, "A"), array_type(types.uint64, 2, readonly=False)
    flags, words, bits = (array_type(kind, 1) for kind in (types.boolean, types.uint32, types.uint64))
    signature = types.void(part, masks, ints, ints, ints, floats, flags, words, bits, ints, floats)
    return numba.njit(signature, nogil=True)(_clear)


@cache
def _compile_clear_blocks() -> Any:
    ints, floats = array_type(types.int64, 1), array_type(types.float32, 1)
    part, masks = array_type(types.float32, 2, "A"), array_type(types.uint64, 2, readonly=False)
    flags, bits = array_type(types.boolean, 1), array_type(types.uint64, 1)
    signature = types.void(part, masks, ints, ints, ints, ints, floats, flags, bits, ints, floats)
    return numba.njit(signature, nogil=True)(_clear_blocks)


def _clear(
    part: Any, masks: Any, group_column: Any, group_kind: Any, group_start: Any,
    threshold: Any, by_nan: Any, word: Any, keep: Any, member_start: Any, member: Any,
) -> None:  # fmt: skip
    """Clear row by row, from the first entry of a group to the last that the value decides against."""
    for row in range(part.shape[0]):
        for group in range(group_column.shape[0]):
            value = part[row, group_column[group]]
            kind, entry, end = group_kind[group], group_start[group], group_start[group + 1]
            if isnan(value):
                for at in range(entry, end):
                    if by_nan[at]:
                        masks[row, word[at]] &= keep[at]
            elif kind in (_ABOVE, _BELOW):
                low, high = entry, end
                while low < high:
                    middle = (low + high) >> 1
                    if value > threshold[middle] if kind == _ABOVE else value < threshold[middle]:
                        low = middle + 1
                    else:
                        high = middle
                for at in range(entry, low):
                    masks[row, word[at]] &= keep[at]
            else:
                for at in range(entry, end):
                    found = False
                    for one in range(member_start[at], member_start[at + 1]):
                        found = found or member[one] == value
                    if found == (kind == _AMONG):
                        masks[row, word[at]] &= keep[at]


def _clear_blocks(
    part: Any, masks: Any, start: Any, entry: Any, column: Any, kind: Any,
    threshold: Any, by_nan: Any, keep: Any, member_start: Any, member: Any,
) -> None:  # fmt: skip
    """Clear word by word, each condition for a block of rows; loops over lanes become vector instructions."""
    all_bits = np.uint64(0xFFFFFFFFFFFFFFFF)
    values = np.zeros((part.shape[1], _LANES), np.float32)
    cleared = np.empty((_WORDS, _LANES), np.uint64)
    for first in range(0, part.shape[0], _LANES):
        rows = min(_LANES, part.shape[0] - first)
        lanes = (rows + 15) & ~15  # what is made of lanes without a row, nobody takes
        for row in range(rows):
            for one in range(part.shape[1]):
                values[one, row] = part[first + row, one]
        for tile in range(0, start.shape[0] - 1, _WORDS):
            words = min(_WORDS, start.shape[0] - 1 - tile)
            for word in range(words):
                left = cleared[word]
                for lane in range(lanes):
                    left[lane] = all_bits
                for nth in range(start[tile + word], start[tile + word + 1]):
                    value, what, bound, kept = values[column[nth]], kind[nth], threshold[nth], keep[nth]
                    if what == _ABOVE and by_nan[nth]:
                        for lane in range(lanes):
                            left[lane] &= all_bits if value[lane] <= bound else kept
                    elif what == _ABOVE:
                        for lane in range(lanes):
                            left[lane] &= kept if value[lane] > bound else all_bits
                    elif what == _BELOW and by_nan[nth]:
                        for lane in range(lanes):
                            left[lane] &= all_bits if value[lane] >= bound else kept
                    elif what == _BELOW:
                        for lane in range(lanes):
                            left[lane] &= kept if value[lane] < bound else all_bits
                    else:
                        at = entry[nth]
                        for lane in range(rows):
                            found = False
                            for one in range(member_start[at], member_start[at + 1]):
                                found = found or member[one] == value[lane]
                            if by_nan[nth] if isnan(value[lane]) else found == (what == _AMONG):
                                left[lane] &= kept
            for row in range(rows):
                for word in range(words):
                    masks[first + row, tile + word] &= cleared[word, row]
