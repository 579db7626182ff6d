"""Bit vectors of trees: leaves numbered from the left, conditions as the leaves that they rule out (QuickScorer).

A node whose answer is no rules out the leaves of its true branch. The leaf that a row reaches is the lowest that no
node rules out (Lucchese et al., SIGIR 2015), so the conditions may be asked in any order, each side's apart.

Owns the numbering, and conditions in a form in which one float32 comparison decides them. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from ranker.scoring.split.parts import Side
from ranker.scoring.split.trees.attributes import NotSplittable
from ranker.scoring.split.trees.node import Mode, Trees

MAX_LEAVES = 4096
"""Leaves of one tree; one of more would take more words than it is worth."""
WORD = 64


class Kind(IntEnum):
    """When a condition rules its leaves out."""

    ABOVE = 0
    """The value is above the threshold."""
    BELOW = 1
    """The value is below the threshold."""
    OUTSIDE = 2
    """The value is none of the members."""
    AMONG = 3
    """The value is one of the members."""


@dataclass(frozen=True)
class Condition:
    """A node of a tree.

    Attributes:
        kind: When it rules leaves out.
        threshold: What the value is compared with.
        members: What it is looked for in.
        by_nan: Whether NaN rules the leaves out.
    """

    kind: Kind
    threshold: float = 0.0
    members: tuple[float, ...] = ()
    by_nan: bool = True


@dataclass
class Cleared:
    """Entries of one side: a condition, the word it clears bits of, and what it leaves of that word."""

    columns: list[int] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    keeps: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Bits:
    """All trees as bit vectors.

    Attributes:
        sides: What the conditions of each side clear.
        tree_word: First word of each tree.
        tree_leaf: First leaf of each tree in `leaves`.
        words: Words of all trees.
        leaves: Node of each leaf, from the left, tree by tree.
    """

    sides: dict[Side, Cleared]
    tree_word: npt.NDArray[np.int64]
    tree_leaf: npt.NDArray[np.int64]
    words: int
    leaves: list[int]


def number_leaves(trees: Trees, columns: Sequence[tuple[Side, int]]) -> Bits:
    """Return the bit vectors of trees whose features are these columns.

    Raises:
        NotSplittable: a tree has too many leaves or no end, or looks at a column that is not there.
    """
    sides = {side: Cleared() for side in Side}
    leaves: list[int] = []
    tree_word, tree_leaf, word = [], [], 0
    for root in trees.roots:
        first = len(leaves)
        tree_word.append(word)
        tree_leaf.append(first)
        for node, low, high in _walk(trees, root, leaves):
            condition = decide(trees, node)
            if condition is None:
                continue
            if not 0 <= trees.features[node] < len(columns):
                raise NotSplittable(f"a node looks at column {trees.features[node]} of {len(columns)}")
            side, column = columns[trees.features[node]]
            for at, keep in _clear(low - first, high - first):
                sides[side].columns.append(column)
                sides[side].conditions.append(condition)
                sides[side].words.append(word + at)
                sides[side].keeps.append(keep)
        word += -(-(len(leaves) - first) // WORD)
    return Bits(sides, np.array(tree_word, np.int64), np.array(tree_leaf, np.int64), word, leaves)


def _walk(trees: Trees, root: int, leaves: list[int]) -> list[tuple[int, int, int]]:
    """Append a tree's leaves from the left; return its nodes with the range of leaves of their true branch."""
    nodes: list[tuple[int, int, int]] = []
    begun = len(leaves)
    todo: list[tuple[int, int | None]] = [(root, None)]  # a node, and where its true branch began once that is done
    steps = 0
    while todo:
        node, low = todo.pop()
        steps += 1
        if steps > 4 * MAX_LEAVES or len(leaves) - begun > MAX_LEAVES:
            raise NotSplittable(f"a tree has more than {MAX_LEAVES:,} leaves, or leads back to itself")
        if trees.modes[node] is Mode.LEAF:
            leaves.append(node)
        elif low is None:
            todo.append((node, len(leaves)))
            todo.append((trees.true[node], None))
        else:
            nodes.append((node, low, len(leaves)))
            todo.append((trees.false[node], None))
    return nodes


def _clear(low: int, high: int) -> list[tuple[int, int]]:
    """Return the words that hold leaves `low` to `high`, each with the bits of it that stay."""
    ones = (1 << WORD) - 1
    cleared = (1 << high) - (1 << low)
    return [(at, ~(cleared >> WORD * at) & ones) for at in range(low // WORD, (high - 1) // WORD + 1)]


def decide(trees: Trees, node: int) -> Condition | None:
    """Return a node's condition for values that are float32; None where the answer is always yes.

    A threshold in float64 becomes the float32 next to it on the side where it divides the float32 numbers alike.
    """
    mode, by_nan = trees.modes[node], not trees.missing[node]
    threshold = trees.thresholds[node]
    if mode is Mode.MEMBER:
        return Condition(Kind.OUTSIDE, members=_as_float32(trees.members[node]), by_nan=by_nan)
    if mode is Mode.EQ:
        return Condition(Kind.OUTSIDE, members=_as_float32([threshold]), by_nan=by_nan)
    if mode is Mode.NEQ:  # NaN is not equal to anything: the answer is yes
        members = _as_float32([threshold])
        return Condition(Kind.AMONG, members=members, by_nan=False) if members else None
    below = mode in (Mode.LEQ, Mode.LT)
    bound = _bound(threshold if below else -threshold, strict=mode in (Mode.LT, Mode.GT))
    if bound is None:
        return Condition(Kind.OUTSIDE, by_nan=by_nan)  # never yes, but for NaN
    return Condition(Kind.ABOVE if below else Kind.BELOW, bound if below else -bound, by_nan=by_nan)


def _bound(threshold: float, strict: bool) -> float | None:
    """Return the largest float32 that is not above the threshold, or below it when strict; None when there is none."""
    if np.isnan(threshold):
        return None
    with np.errstate(over="ignore"):
        near = np.float32(threshold)
    if float(near) > threshold or (strict and float(near) == threshold):
        if near == -np.inf:
            return None
        near = np.nextafter(near, np.float32(-np.inf))
    return float(near) + 0.0  # -0.0 and 0.0 compare alike


def _as_float32(values: Sequence[float]) -> tuple[float, ...]:
    """Return those of the values that a float32 can be equal to."""
    with np.errstate(over="ignore"):
        return tuple(float(near) + 0.0 for value in values if float(near := np.float32(value)) == value)
