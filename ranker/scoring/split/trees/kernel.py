"""Kernel: conditions and leaves as the compiled module finds them, asked for masks and for sums in slices of rows.

Owns where in the module's memory everything lies, and that each thread has a memory of its own. Knows nothing of what
becomes of the sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeVar

import numpy as np

from ranker.errors import ModelFailed, ModelRejected
from ranker.scoring.split.parts import Masks, RowRequest, Side
from ranker.scoring.split.trees.clearing import Clearing
from ranker.scoring.split.trees.conditions import Conditions
from ranker.scoring.split.trees.leaves import Leaves
from ranker.scoring.split.trees.scores import Aggregate, Sums
from ranker.scoring.split.trees.thresholds import LANES
from ranker.scoring.split.trees.webassembly import STOPPED, Layout
from ranker.vectors.rows import Matrix

SLICE_BYTES = 1 << 20
"""Bytes of the masks of a slice of rows: they stay in the second-level cache from when they are copied until read."""
_INT, _MASK = np.dtype(np.uint32), np.dtype(np.uint64)
_ALL_BITS = np.uint64(0xFFFFFFFFFFFFFFFF)
_Result = TypeVar("_Result")


class Kernels:
    """Kernels of one ensemble. Safe to use from several threads: each call has a kernel for itself.

    Args:
        conditions: What each side's values rule out.
        leaves: What the leaves give.

    Raises:
        ModelRejected: they are more than a memory of 4 GB holds.
    """

    def __init__(self, conditions: Mapping[Side, Conditions], leaves: Leaves) -> None:
        self._make = partial(Kernel, conditions, leaves)
        try:
            self._idle = [self._make()]
        except STOPPED as err:
            raise ModelRejected(f"The trees cannot be compiled: {_reason(err)}.") from err

    def masks(self, side: Side, part: Matrix) -> Masks:
        """Return the masks of rows of one side's part, shape (n, words); raises ModelFailed."""
        return self._run(len(part), lambda kernel: kernel.masks(side, part))

    def sums(self, request: Masks, product: Masks, row_request: RowRequest, pair: Matrix | None) -> Sums:
        """Return what `Kernel.sums` does; raises ModelFailed, and IndexError."""
        return self._run(len(product), lambda kernel: kernel.sums(request, product, row_request, pair))

    def _run(self, rows: int, act: Callable[[Kernel], _Result]) -> _Result:
        try:
            kernel = self._idle.pop()
        except IndexError:  # as many threads as never before
            kernel = self._make()
        try:
            result = act(kernel)
        except STOPPED as err:  # the kernel is not used again
            raise ModelFailed(rows, f"the compiled trees stopped ({_reason(err)})") from err
        self._idle.append(kernel)
        return result


class Kernel:
    """A compiled module and its memory, for one thread at a time."""

    def __init__(self, conditions: Mapping[Side, Conditions], leaves: Leaves) -> None:
        self._leaves = leaves
        self._words = words = int(leaves.tree_word[-1])
        self._mask_bytes = words * _MASK.itemsize
        self._rows = rows = max(SLICE_BYTES // self._mask_bytes // LANES, 1) * LANES
        layout = Layout()
        shape, targets = (rows, words), 1 if leaves.single else leaves.targets
        weight = leaves.weight.dtype
        self._request_at = layout.reserve(rows * self._mask_bytes)
        product_at = layout.reserve(rows * self._mask_bytes)
        self._clearings = {side: Clearing(layout, some, product_at, words, rows) for side, some in conditions.items()}
        addresses_at = layout.reserve(rows * _INT.itemsize)
        sums_at = layout.reserve(rows * targets * weight.itemsize)
        self._function, arguments = _place_leaves(layout, leaves)
        self._arguments = (len(leaves.tree_leaf), addresses_at, product_at, sums_at, *arguments)
        program = self._program = layout.open(weight)
        for clearing in self._clearings.values():
            clearing.open(program)
        self._request = program.view(self._request_at, shape, _MASK)
        self._product = program.view(product_at, shape, _MASK)
        self._sums = program.view(sums_at, (rows, targets), weight)
        self._addresses = program.view(addresses_at, (rows,), _INT)
        self._addresses[:] = self._request_at  # so that rows which are read behind the last have one, too

    def masks(self, side: Side, part: Matrix) -> Masks:
        """Return the masks of rows of one side's part (n, K), shape (n, words)."""
        masks = np.empty((len(part), self._words), np.uint64)
        for some in self._slices(len(part)):
            masks[some] = self._clear_slice(side, part[some])
        return masks

    def sums(self, request: Masks, product: Masks, row_request: RowRequest, pair: Matrix | None) -> Sums:
        """Return the sums of the leaves that rows reach.

        Args:
            request: Shape (R, words).
            product: Shape (N, words); its rows may be strided.
            row_request: Which request each row is of, shape (N,).
            pair: Columns of the pair's side, shape (N, Wc); None where no condition looks at them.

        Returns:
            Shape (N, targets), in the type of the weights.

        Raises:
            IndexError: a row is of a request that is not there.
        """
        leaves = self._leaves
        if row_request.size and not 0 <= row_request.min() <= row_request.max() < len(request):
            raise IndexError("A row is of a request that is not there.")
        sums = np.zeros((len(product), leaves.targets), leaves.weight.dtype)
        held = len(request) <= self._rows
        if held:
            self._request[: len(request)] = request
        for some in self._slices(len(product)):
            n = some.stop - some.start
            of = row_request[some]
            if not held:
                self._request[:n] = request[of]
                of = np.arange(n)
            self._addresses[:n] = self._request_at + of * self._mask_bytes
            if pair is None:
                self._product[:n] = product[some]
            else:
                self._clear_slice(Side.PAIR, pair[some])
                self._product[:n] &= product[some]
            self._add_slice(sums[some])
        return sums

    def _slices(self, rows: int) -> Iterator[slice]:
        return (slice(first, min(first + self._rows, rows)) for first in range(0, rows, self._rows))

    def _clear_slice(self, side: Side, part: Matrix) -> Masks:
        """Return the masks of a slice, as they lie in the memory until the next call."""
        masks = self._product[: len(part)]
        masks.fill(_ALL_BITS)
        self._clearings[side].clear(part)
        return masks

    def _add_slice(self, sums: Sums) -> None:
        n, leaves = len(sums), self._leaves
        if not leaves.single:
            self._sums[:n] = np.nan if leaves.aggregate in (Aggregate.MIN, Aggregate.MAX) else 0.0
        self._program.call(self._function, n, *self._arguments)
        if leaves.single:
            sums[:, leaves.target[0]] = self._sums[:n, 0]
        else:
            sums[:] = self._sums[:n]


def _place_leaves(layout: Layout, leaves: Leaves) -> tuple[str, tuple[int, ...]]:
    """Return the function that adds their votes, and its arguments from the leaves on."""
    weight, trees = leaves.weight, len(leaves.tree_leaf)
    weight_at = layout.place(weight)
    mask_bytes = int(leaves.tree_word[-1]) * _MASK.itemsize
    word_at = layout.place((leaves.tree_word * _MASK.itemsize).astype(_INT))
    if leaves.single:
        leaf_at = layout.place((weight_at + leaves.tree_leaf * weight.itemsize).astype(_INT))
        if trees == leaves.tree_word[-1]:
            return "add_narrow", (leaf_at,)
        return "add_wide", (leaf_at, mask_bytes, word_at)
    start_at = layout.place(leaves.start.astype(_INT))
    leaf_at = layout.place((start_at + leaves.tree_leaf * _INT.itemsize).astype(_INT))
    target_at = layout.place((leaves.target * weight.itemsize).astype(_INT))
    sums_bytes = leaves.targets * weight.itemsize
    return "add_votes", (leaf_at, mask_bytes, word_at, sums_bytes, target_at, weight_at, leaves.aggregate)


def _reason(err: Exception) -> str:
    """Return the last line of what WebAssembly says; those before it say where in the module."""
    return str(err).strip().splitlines()[-1].strip()
