"""Thresholds of one side word by word, as whole numbers, which one comparison decides for several rows at once.

Owns the whole numbers that order as float32 values do, NaN among them. Knows nothing of the module that compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.scoring.split.trees.bits import Kind
from ranker.scoring.split.trees.conditions import Conditions
from ranker.vectors.rows import Matrix

LANES = 8
"""Rows of a block, which are asked at once."""
KEY_BYTES = LANES * 4
"""Bytes of one key in a block."""
CONDITION = np.dtype([("key", np.uint32), ("threshold", np.int32), ("bits", np.uint64)])
"""A condition: where its key lies in a block, what the value is compared with, and what it clears where above."""
_LEAST, _MOST = np.iinfo(np.int32).min, np.iinfo(np.int32).max


@dataclass(frozen=True)
class Thresholds:
    """Conditions that compare with a threshold, in the order of the words whose bits they clear.

    A key is a column as some of them look at it: as it is or, to find what is below a threshold, with the opposite
    sign; NaN above everything or below.

    Attributes:
        columns: Column of each key, shape (keys,).
        signs: 1, or -1 with the opposite sign.
        nan: What NaN is.
        conditions: Shape (conditions,), of `CONDITION`.
        start: Where those of each word begin, and where the last end, shape (words + 1,).
    """

    columns: npt.NDArray[np.int64]
    signs: npt.NDArray[np.float32]
    nan: npt.NDArray[np.int32]
    conditions: npt.NDArray[Any]
    start: npt.NDArray[np.int64]

    def write_blocks(self, part: Matrix, blocks: npt.NDArray[np.int32]) -> int:
        """Write the values of rows (n, K) into blocks (most, keys, `LANES`); return how many these are."""
        values = part[:, self.columns]
        missing = np.isnan(values)
        values *= self.signs
        numbers = _order(values)
        np.copyto(numbers, self.nan, where=missing)
        whole, more = divmod(len(part), LANES)
        blocks[:whole] = numbers[: whole * LANES].reshape(whole, LANES, len(self.columns)).transpose(0, 2, 1)
        if more:
            blocks[whole, :, :more] = numbers[whole * LANES :].T
        return whole + bool(more)


def list_thresholds(conditions: Conditions, words: int) -> Thresholds:
    """Return the conditions of one side that compare with a threshold."""
    groups = np.repeat(np.arange(len(conditions.group_kind)), np.diff(conditions.group_start))
    kind = conditions.group_kind[groups]
    some = np.flatnonzero(kind <= Kind.BELOW)
    below = kind[some] == Kind.BELOW
    asked = np.stack([conditions.group_column[groups[some]], below, conditions.by_nan[some]], axis=1)
    keys, key = np.unique(asked, axis=0, return_inverse=True)
    key = key.reshape(-1)
    word = conditions.word[some]
    order = np.lexsort((key, word))
    threshold = np.where(below, -conditions.threshold[some], conditions.threshold[some]) + np.float32(0)
    found = np.empty(len(some), CONDITION)
    found["key"] = key[order] * KEY_BYTES
    found["threshold"] = _order(threshold[order])
    found["bits"] = ~conditions.keep[some][order]
    return Thresholds(
        columns=keys[:, 0],
        signs=np.where(keys[:, 1] == 1, -1, 1).astype(np.float32),
        nan=np.where(keys[:, 2] == 1, _MOST, _LEAST).astype(np.int32),
        conditions=found,
        start=np.searchsorted(word[order], np.arange(words + 1)),
    )


def _order(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """Return whole numbers that order as float32 values do; -0.0 comes just below 0.0, where no threshold is."""
    numbers = values.view(np.int32)
    return numbers ^ ((numbers >> 31) & np.int32(_MOST))
