"""Clearing: one side's conditions as they lie in the module's memory, asked of rows.

Owns which way is quicker for so many rows. Knows nothing of leaves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.scoring.split.trees.bits import Kind
from ranker.scoring.split.trees.conditions import Conditions
from ranker.scoring.split.trees.thresholds import KEY_BYTES, LANES, list_thresholds
from ranker.scoring.split.trees.webassembly import Layout, Program
from ranker.vectors.rows import Matrix

LEAST_BLOCK = 4
"""Rows from which on a condition is asked of several at once; fewer are quicker one by one."""
_INT, _FLOAT, _NUMBER, _MASK = (np.dtype(kind) for kind in (np.uint32, np.float32, np.int32, np.uint64))


class Clearing:
    """Conditions of one side in a memory.

    Args:
        layout: Of the memory.
        conditions: What the side's values rule out.
        masks_at: Where the masks lie.
        words: Of each mask.
        rows: Rows of a call at most, a multiple of `LANES`.
    """

    def __init__(self, layout: Layout, conditions: Conditions, masks_at: int, words: int, rows: int) -> None:
        c, mask_bytes = conditions, words * _MASK.itemsize
        self._shape = (rows, c.width)
        self._values_at = layout.reserve(rows * c.width * _FLOAT.itemsize)
        groups = np.stack(
            [c.group_column * _FLOAT.itemsize, c.group_kind, c.group_start[:-1], c.group_start[1:]], axis=1
        )
        groups = groups[np.argsort(c.group_kind >= Kind.OUTSIDE, kind="stable")]
        self._groups_at = layout.place(groups.astype(_INT))
        row = groups.shape[1] * _INT.itemsize
        groups_end = self._groups_at + len(groups) * row
        # Where groups begin whose conditions look for members, which blocks of rows leave to be asked one by one.
        self._members_at = groups_end - int(np.count_nonzero(c.group_kind >= Kind.OUTSIDE)) * row
        self._groups_end = groups_end
        member_at = layout.place(c.member)
        self._place = (c.width * _FLOAT.itemsize, masks_at, mask_bytes)
        self._entries = (
            groups_end,
            layout.place(c.threshold),
            layout.place(c.by_nan),
            layout.place((c.word * np.int64(_MASK.itemsize)).astype(_INT)),
            layout.place(c.keep),
            layout.place((member_at + c.member_start * _FLOAT.itemsize).astype(_INT)),
        )
        thresholds = self._thresholds = list_thresholds(c, words)
        keys = len(thresholds.columns)
        self._blocks_shape = (rows // LANES, keys, LANES)
        self._blocks_at = layout.reserve(rows // LANES * keys * KEY_BYTES)
        conditions_at = layout.place(thresholds.conditions)
        starts_at = layout.place((conditions_at + thresholds.start * thresholds.conditions.itemsize).astype(_INT))
        self._of_blocks = (self._blocks_at, keys * KEY_BYTES, masks_at, mask_bytes, starts_at)

    def open(self, program: Program) -> None:
        """Take the program whose memory it is."""
        self._program = program
        self._values: npt.NDArray[Any] = program.view(self._values_at, self._shape, _FLOAT)
        self._blocks: npt.NDArray[Any] = program.view(self._blocks_at, self._blocks_shape, _NUMBER)

    def clear(self, part: Matrix) -> None:
        """Clear what the values of rows (n, K) rule out, in the first n masks."""
        n, groups_at = len(part), self._groups_at
        if n >= LEAST_BLOCK and groups_at != self._members_at:
            self._program.call("clear_many", self._thresholds.write_blocks(part, self._blocks), *self._of_blocks)
            groups_at = self._members_at
        if groups_at != self._groups_end:
            self._values[:n] = part[:, : self._shape[1]]
            self._program.call("clear", n, self._values_at, *self._place, groups_at, *self._entries)
