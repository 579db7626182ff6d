"""Bit vectors of trees: leaves numbered from the left, conditions as the leaves that they rule out (QuickScorer).

A node whose answer is no rules out the leaves of its true branch. The leaf that a row reaches is the lowest that no
node rules out (Lucchese et al., SIGIR 2015), so the conditions may be asked in any order, each side's apart.

Owns the numbering, and conditions in a form in which one float32 comparison decides them. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    """Kind of a condition: when it rules its leaves out."""

    ABOVE = 0
    """The value is above the threshold."""
    BELOW = 1
    """The value is below the threshold."""
    OUTSIDE = 2
    """The value is none of the members."""
    AMONG = 3
    """The value is one of the members."""


@dataclass(frozen=True)
class Decisions:
    """What each node asks of values that are float32; of leaves and of nodes that no value reaches it means nothing.

    Attributes:
        kind: When it rules leaves out, a `Kind`.
        threshold: What the value is compared with.
        members: What it is looked for in, where a node has some.
        by_nan: Whether NaN rules the leaves out.
        never: Whether nothing does: the answer is always yes.
    """

    kind: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float64]
    members: dict[int, tuple[float, ...]]
    by_nan: npt.NDArray[np.bool_]
    never: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cleared:
    """Entries of one side: a node's condition, the word it clears bits of, and what it leaves of that word.

    Attributes:
        decisions: Of all nodes.
        nodes: Each entry's node.
        columns: Column of the part that it looks at.
        words: The word.
        keeps: What is left of it.
    """

    decisions: Decisions
    nodes: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    words: npt.NDArray[np.int64]
    keeps: npt.NDArray[np.uint64]


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
    decisions = decide(trees)
    never = decisions.never.tolist()
    leaves: list[int] = []
    tree_word, tree_leaf, word = [], [], 0
    nodes: list[int] = []
    words: list[int] = []
    keeps: list[int] = []
    for root in trees.roots:
        first = len(leaves)
        tree_word.append(word)
        tree_leaf.append(first)
        for node, low, high in _walk(trees, root, leaves):
            if never[node]:
                continue
            if not 0 <= trees.features[node] < len(columns):
                raise NotSplittable(f"a node looks at column {trees.features[node]} of {len(columns)}")
            for at, keep in _clear(low - first, high - first):
                nodes.append(node)
                words.append(word + at)
                keeps.append(keep)
        word += -(-(len(leaves) - first) // WORD)
    entries = np.array(nodes, np.int64), np.array(words, np.int64), np.array(keeps, np.uint64)
    sides = _part_by_side(decisions, *entries, np.array(trees.features, np.int64), columns)
    return Bits(sides, np.array(tree_word, np.int64), np.array(tree_leaf, np.int64), word, leaves)


def _part_by_side(
    decisions: Decisions,
    nodes: npt.NDArray[np.int64],
    words: npt.NDArray[np.int64],
    keeps: npt.NDArray[np.uint64],
    features: npt.NDArray[np.int64],
    columns: Sequence[tuple[Side, int]],
) -> dict[Side, Cleared]:
    feature = features[nodes]
    of_side = {side: np.array([one is side for one, _ in columns], np.bool_) for side in Side}
    places = np.array([place for _, place in columns], np.int64)
    return {
        side: Cleared(decisions, nodes[some], places[feature[some]], words[some], keeps[some])
        for side in Side
        for some in (of_side[side][feature],)
    }


def _walk(trees: Trees, root: int, leaves: list[int]) -> list[tuple[int, int, int]]:
    """Append a tree's leaves from the left; return its nodes with the range of leaves of their true branch."""
    nodes: list[tuple[int, int, int]] = []
    begun = len(leaves)
    todo: list[tuple[int, int | None]] = [(root, None)]  # a node, and where its true branch began once that is done
    steps = 0
    while todo:
        node, low = todo.pop()
        steps += 1
        if steps > 4 * MAX_LEAVES or len(leaves) - begun >= MAX_LEAVES:
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


def decide(trees: Trees) -> Decisions:
    """Return each node's condition for values that are float32.

    A threshold in float64 becomes the float32 next to it on the side where it divides the float32 numbers alike.
    """
    modes, thresholds = np.array(trees.modes, np.int64), np.array(trees.thresholds, np.float64)
    by_nan = ~np.array(trees.missing, np.bool_)
    below = (modes == Mode.LEQ) | (modes == Mode.LT)
    bound, none = _bound(np.where(below, thresholds, -thresholds), (modes == Mode.LT) | (modes == Mode.GT))
    kind = np.where(below, Kind.ABOVE, Kind.BELOW)
    kind[none] = Kind.OUTSIDE  # never yes, but for NaN
    threshold = np.where(none, 0.0, np.where(below, bound, -bound))
    looked_for = (modes == Mode.EQ) | (modes == Mode.NEQ) | (modes == Mode.MEMBER)
    kind[looked_for] = np.where(modes[looked_for] == Mode.NEQ, Kind.AMONG, Kind.OUTSIDE)
    threshold[looked_for] = 0.0
    members = {
        node: _as_float32(trees.members[node] if modes[node] == Mode.MEMBER else [thresholds[node]])
        for node in np.flatnonzero(looked_for).tolist()
    }
    by_nan &= modes != Mode.NEQ  # NaN is not equal to anything: the answer is yes
    never = np.zeros(len(modes), np.bool_)
    never[[node for node, some in members.items() if not some and modes[node] == Mode.NEQ]] = True
    return Decisions(kind, threshold, members, by_nan, never)


def _bound(
    thresholds: npt.NDArray[np.float64], strict: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return the largest float32 that is not above each threshold, or below it when strict; and where there is none."""
    with np.errstate(over="ignore", invalid="ignore"):
        near = thresholds.astype(np.float32)
        lower = (near > thresholds) | (strict & (near == thresholds))
        none = np.isnan(thresholds) | (lower & (near == -np.inf))
        near[lower] = np.nextafter(near[lower], np.float32(-np.inf))
    return near.astype(np.float64) + 0.0, none  # -0.0 and 0.0 compare alike


def _as_float32(values: Sequence[float]) -> tuple[float, ...]:
    """Return those of the values that a float32 can be equal to."""
    with np.errstate(over="ignore"):
        return tuple(float(near) + 0.0 for value in values if float(near := np.float32(value)) == value)
