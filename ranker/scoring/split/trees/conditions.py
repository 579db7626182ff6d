"""Conditions of one side of an ensemble, as arrays that a kernel walks through.

Entries of one column and kind are neighbours, sorted so that those which a value decides against come first.
Knows nothing of trees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.scoring.split.trees.bits import Cleared, Kind


@dataclass(frozen=True)
class Conditions:
    """Conditions of one side: what the values of its part rule out.

    Attributes:
        group_column: Column of the part that a group of entries looks at, shape (groups,).
        group_kind: Their `Kind`.
        group_start: Where each group begins, and where the last ends, shape (groups + 1,).
        threshold: What each entry compares with, ascending in a group of `ABOVE`, descending in one of `BELOW`,
            shape (entries,).
        by_nan: Whether NaN clears its bits.
        word: The word of the masks that it clears bits of.
        keep: What it leaves of that word.
        member_start: Where the members of each entry begin, and where the last end, shape (entries + 1,).
        member: Members of all entries.
    """

    group_column: npt.NDArray[np.int64]
    group_kind: npt.NDArray[np.int64]
    group_start: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float32]
    by_nan: npt.NDArray[np.bool_]
    word: npt.NDArray[np.uint32]
    keep: npt.NDArray[np.uint64]
    member_start: npt.NDArray[np.int64]
    member: npt.NDArray[np.float32]

    @property
    def width(self) -> int:
        """How many columns the part must have at least."""
        return int(self.group_column.max(initial=-1)) + 1

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def sort_conditions(cleared: Cleared) -> Conditions:
    """Return one side's entries as arrays."""
    decisions = cleared.decisions
    kind, threshold = decisions.kind[cleared.nodes], decisions.threshold[cleared.nodes]
    ascending = np.where(kind == Kind.BELOW, -threshold, threshold)
    order = np.lexsort((cleared.words, ascending, kind, cleared.columns))
    nodes, columns, kind = cleared.nodes[order], cleared.columns[order], kind[order]
    begins = np.flatnonzero((np.diff(columns, prepend=-1) != 0) | (np.diff(kind, prepend=-1) != 0))
    members = [decisions.members.get(node, ()) for node in nodes.tolist()]
    return Conditions(
        group_column=columns[begins],
        group_kind=kind[begins],
        group_start=np.append(begins, len(order)).astype(np.int64),
        threshold=threshold[order].astype(np.float32),
        by_nan=decisions.by_nan[nodes],
        word=cleared.words[order].astype(np.uint32),
        keep=cleared.keeps[order],
        member_start=_offsets([len(some) for some in members]),
        member=np.array([value for some in members for value in some], np.float32),
    )


def read_conditions(arrays: Mapping[str, npt.NDArray[Any]], words: int) -> Conditions:
    """Return conditions from arrays that were stored.

    Raises:
        ValueError: they do not fit one another, or point outside of the masks' words.
    """
    conditions = Conditions(**{field.name: arrays[field.name] for field in fields(Conditions)})
    groups, entries = len(conditions.group_column), len(conditions.threshold)
    per_entry = (conditions.by_nan, conditions.word, conditions.keep)
    fits = len(conditions.group_kind) == groups and all(len(one) == entries for one in per_entry)
    if not (
        fits
        and _is_offsets(conditions.group_start, groups, entries)
        and _is_offsets(conditions.member_start, entries, len(conditions.member))
        and _is_within(conditions.group_column, 1 << 31)
        and _is_within(conditions.group_kind, len(Kind))
        and _is_within(conditions.word, words)
        and not np.isnan(conditions.threshold).any()
    ):
        raise ValueError("its conditions do not fit one another")
    return conditions


def _offsets(counts: list[int]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def _is_offsets(starts: npt.NDArray[Any], count: int, end: int) -> bool:
    return bool(len(starts) == count + 1 and starts[0] == 0 and starts[-1] == end and (np.diff(starts) >= 0).all())


def _is_within(values: npt.NDArray[Any], end: int) -> bool:
    return bool((values >= 0).all() and (values < end).all())
