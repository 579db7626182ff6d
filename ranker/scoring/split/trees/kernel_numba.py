"""Kernel compiled by numba when an ensemble is loaded: a lowest bit and an addition for each row and tree.

Owns the loops over rows and trees, and the types that they are compiled for before the first request. The GIL is let
go; nothing is cached on disk. Knows nothing of ONNX.
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
from ranker.scoring.split.trees import clear_numba
from ranker.scoring.split.trees.clear_numba import array_type, clear
from ranker.scoring.split.trees.leaves import Leaves
from ranker.scoring.split.trees.scores import Aggregate, Sums

__all__ = ["add_votes", "clear", "prepare"]

_MIN, _MAX = int(Aggregate.MIN), int(Aggregate.MAX)


def prepare(leaves: Leaves) -> None:
    """Compile what these leaves need; quick when it was compiled before."""
    clear_numba.prepare()
    _compile_add(_choose(leaves), leaves.weight.dtype.name)


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


@cache
def _compile_add(function: Callable[..., bool], dtype: str) -> Any:
    ints, masks, kind = array_type(types.int64, 1), array_type(types.uint64, 2, "A"), getattr(types, dtype)
    weights, sums = array_type(kind, 1), array_type(kind, 2, readonly=False)
    signature = types.boolean(masks, masks, ints, ints, ints, ints, ints, weights, types.int64, sums)
    return numba.njit(signature, nogil=True)(function)


def _count_zeros(context: Any, word: Any) -> tuple[Any, Any]:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


_trailing_zeros = intrinsic(_count_zeros)
"""Zeros below the lowest bit of a word that is set; 64 when none is."""


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
