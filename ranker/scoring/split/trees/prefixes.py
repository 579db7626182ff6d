"""Prefix tables of conditions: what the first entries of a group leave of the masks, at every so many entries.

Owns the tables by which numpy clears a whole row at once, where a loop in Python would go entry by entry. Knows
nothing of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from ranker.scoring.split.parts import Masks
from ranker.scoring.split.trees.bits import Kind
from ranker.scoring.split.trees.conditions import Conditions

MIN_STEP = 16
MAX_TABLE_BYTES = 1 << 24
"""Of all tables of one side; above it, fewer entries have a row in them."""


@dataclass(frozen=True)
class Prefixes:
    """Tables of one group of sorted entries.

    Attributes:
        column: Column that the group looks at.
        start: Where its entries begin.
        descends: Whether it rules out what is below the thresholds.
        thresholds: Ascending; with the opposite sign where it descends.
        step: Entries between two rows of the table.
        table: Row i is what the first `i * step` entries leave, the last row what NaN leaves; shape (rows, words).
    """

    column: int
    start: int
    descends: bool
    thresholds: npt.NDArray[np.float32]
    step: int
    table: Masks


_TABLES: WeakKeyDictionary[Conditions, list[Prefixes]] = WeakKeyDictionary()


def tabulate(conditions: Conditions, words: int) -> list[Prefixes]:
    """Return the tables of all groups that are sorted by threshold; made when they are asked for first."""
    tables = _TABLES.get(conditions)
    if tables is None:
        size = len(conditions.word) * words * 8
        step = max(MIN_STEP, -(-size // MAX_TABLE_BYTES))
        tables = _TABLES[conditions] = [
            _tabulate(conditions, group, words, step)
            for group, kind in enumerate(conditions.group_kind.tolist())
            if kind in (Kind.ABOVE, Kind.BELOW)
        ]
    return tables


def _tabulate(conditions: Conditions, group: int, words: int, step: int) -> Prefixes:
    start, end = conditions.group_start[group : group + 2].tolist()
    word, keep, by_nan = conditions.word[start:end], conditions.keep[start:end], conditions.by_nan[start:end]
    descends = bool(conditions.group_kind[group] == Kind.BELOW)
    thresholds = conditions.threshold[start:end]
    rows = (end - start) // step + 2
    table = np.full((rows, words), ~np.uint64(0), np.uint64)
    for row in range(1, rows - 1):
        table[row] = table[row - 1]
        some = slice((row - 1) * step, row * step)
        np.bitwise_and.at(table[row], word[some], keep[some])
    np.bitwise_and.at(table[-1], word[by_nan], keep[by_nan])
    return Prefixes(
        int(conditions.group_column[group]), start, descends, -thresholds if descends else thresholds, step, table
    )
