"""Kernel compiled by numba when an ensemble is loaded: a lowest bit and an addition for each row and tree.

Owns the loops, and the types that they are compiled for before the first request. The GIL is let go; nothing is
cached on disk. Knows nothing of ONNX.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import isnan
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ranker.scoring.split.parts import Masks, RowRequest
from ranker.scoring.split.trees.bits import Kind
from ranker.scoring.split.trees.conditions import Conditions
from ranker.scoring.split.trees.leaves import Leaves
from ranker.scoring.split.trees.scores import Aggregate, Sums
from ranker.vectors.rows import Matrix

_ABOVE, _BELOW, _AMONG = int(Kind.ABOVE), int(Kind.BELOW), int(Kind.AMONG)
_MIN, _MAX = int(Aggregate.MIN), int(Aggregate.MAX)


def prepare(leaves: Leaves) -> None:
    """Compile what these leaves need; quick when it was compiled before."""
    _compile_clear()
    _compile_add(_choose(leaves), leaves.weight.dtype.name)


def clear(conditions: Conditions, part: Matrix, masks: Masks) -> None:
    """Clear what each row's values rule out, in masks of shape (n, words)."""
    c = conditions
    _compile_clear()(
        part, masks, c.group_column, c.group_kind, c.group_start,
        c.threshold, c.by_nan, c.word, c.keep, c.member_start, c.member,
    )  # fmt: skip


def add_votes(leaves: Leaves, request: Masks, product: Masks, row_request: RowRequest) -> Sums:
    """Return the sums of the leaves that the rows reach, shape (n, targets).

    Raises:
        IndexError: a row is of a request that is not there.
    """
    extreme = leaves.aggregate in (_MIN, _MAX)
    sums = np.full((len(product), leaves.targets), np.nan if extreme else 0.0, leaves.weight.dtype)
    add = _compile_add(_choose(leaves), leaves.weight.dtype.name)
    if not add(
        request, product, row_request, leaves.tree_word, leaves.tree_leaf,
        leaves.start, leaves.target, leaves.weight, leaves.aggregate, sums,
    ):  # fmt: skip
        raise IndexError("A row is of a request that is not there.")
    return sums


def _choose(leaves: Leaves) -> Callable[..., bool]:
    if not leaves.single:
        return _add_all_votes
    return _add_narrow if len(leaves.tree_leaf) == leaves.tree_word[-1] else _add_wide


def _array(kind: Any, axes: int, layout: str = "C", readonly: bool = True) -> Any:
    """Return the type of an array; one that is read may be writable or not, and lie in any layout that `A` allows."""
    return types.Array(kind, axes, layout, readonly=readonly)


@cache
def _compile_clear() -> Any:
    ints, floats = _array(types.int64, 1), _array(types.float32, 1)
    part, masks = _array(types.float32, 2, "A"), _array(types.uint64, 2, readonly=False)
    flags, words, bits = (_array(kind, 1) for kind in (types.boolean, types.uint32, types.uint64))
    signature = types.void(part, masks, ints, ints, ints, floats, flags, words, bits, ints, floats)
    return numba.njit(signature, nogil=True)(_clear)


@cache
def _compile_add(function: Callable[..., bool], dtype: str) -> Any:
    ints, masks, kind = _array(types.int64, 1), _array(types.uint64, 2, "A"), getattr(types, dtype)
    signature = types.boolean(
        masks, masks, ints, ints, ints, ints, ints, _array(kind, 1), types.int64, _array(kind, 2, readonly=False)
    )
    return numba.njit(signature, nogil=True)(function)


def _count_zeros(context: Any, word: Any) -> tuple[Any, Any]:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


_trailing_zeros = intrinsic(_count_zeros)
"""Zeros below the lowest bit of a word that is set; 64 when none is."""


def _clear(
    part: Any, masks: Any, group_column: Any, group_kind: Any, group_start: Any,
    threshold: Any, by_nan: Any, word: Any, keep: Any, member_start: Any, member: Any,
) -> None:  # fmt: skip
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


def _add_narrow(
    request: Any, product: Any, row_request: Any, tree_word: Any, tree_leaf: Any,
    start: Any, target: Any, weight: Any, aggregate: Any, sums: Any,
) -> bool:  # fmt: skip
    """Add the votes of trees of one word each, all for one target."""
    to = target[0]
    for row in range(product.shape[0]):
        of = row_request[row]
        if of < 0 or of >= request.shape[0]:
            return False
        total = sums[row, to]
        for tree in range(tree_leaf.shape[0]):
            total += weight[tree_leaf[tree] + _trailing_zeros(request[of, tree] & product[row, tree])]
        sums[row, to] = total
    return True


def _add_wide(
    request: Any, product: Any, row_request: Any, tree_word: Any, tree_leaf: Any,
    start: Any, target: Any, weight: Any, aggregate: Any, sums: Any,
) -> bool:  # fmt: skip
    """Add the votes of trees some of which take several words, all for one target."""
    to = target[0]
    for row in range(product.shape[0]):
        of = row_request[row]
        if of < 0 or of >= request.shape[0]:
            return False
        total = sums[row, to]
        for tree in range(tree_leaf.shape[0]):
            word, leaf = tree_word[tree], tree_leaf[tree]
            bits = request[of, word] & product[row, word]
            while bits == 0 and word + 1 < tree_word[tree + 1]:
                word += 1
                leaf += 64
                bits = request[of, word] & product[row, word]
            total += weight[leaf + _trailing_zeros(bits)]
        sums[row, to] = total
    return True


def _add_all_votes(
    request: Any, product: Any, row_request: Any, tree_word: Any, tree_leaf: Any,
    start: Any, target: Any, weight: Any, aggregate: Any, sums: Any,
) -> bool:  # fmt: skip
    """Combine the votes of leaves that have several, or for several targets."""
    for row in range(product.shape[0]):
        of = row_request[row]
        if of < 0 or of >= request.shape[0]:
            return False
        for tree in range(tree_leaf.shape[0]):
            word, leaf = tree_word[tree], tree_leaf[tree]
            bits = request[of, word] & product[row, word]
            while bits == 0 and word + 1 < tree_word[tree + 1]:
                word += 1
                leaf += 64
                bits = request[of, word] & product[row, word]
            leaf += _trailing_zeros(bits)
            for vote in range(start[leaf], start[leaf + 1]):
                to, given = target[vote], weight[vote]
                if aggregate == _MIN:
                    if isnan(sums[row, to]) or given < sums[row, to]:
                        sums[row, to] = given
                elif aggregate == _MAX:
                    if isnan(sums[row, to]) or given > sums[row, to]:
                        sums[row, to] = given
                else:
                    sums[row, to] += given
    return True
