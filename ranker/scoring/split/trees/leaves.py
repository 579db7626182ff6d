"""Leaves of an ensemble, as arrays that a kernel finds them and their votes in.

Owns the padding that keeps a kernel inside the arrays whatever the masks hold. Knows nothing of conditions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.scoring.split.trees.bits import WORD
from ranker.scoring.split.trees.votes import Votes


@dataclass(frozen=True)
class Leaves:
    """Leaves of an ensemble: where each tree's bits lie, and what its leaves give.

    Attributes:
        tree_word: First word of each tree, and where the last ends, shape (trees + 1,).
        tree_leaf: First leaf of each tree, shape (trees,).
        start: Where the votes of each leaf begin, and where the last end.
        target: The target of each vote.
        weight: What it gives.
        targets: How many targets there are.
        aggregate: How the votes for a target become one, an `Aggregate`.
        single: Whether every leaf has one vote, all for the same target, and votes are added: leaf i has vote i.
    """

    tree_word: npt.NDArray[np.int64]
    tree_leaf: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    weight: npt.NDArray[Any]
    targets: int
    aggregate: int
    single: bool


def pad_leaves(
    tree_word: npt.NDArray[np.int64],
    tree_leaf: npt.NDArray[np.int64],
    votes: Votes,
    targets: int,
    aggregate: int,
    adds: bool,
) -> Leaves:
    """Return the leaves with as many empty ones behind as masks without any bit could point to."""
    beyond = int(np.diff(tree_word).max()) * WORD + 1
    single = adds and bool((np.diff(votes.start) == 1).all() and (votes.target == votes.target[0]).all())
    return Leaves(
        tree_word=tree_word,
        tree_leaf=tree_leaf,
        start=np.concatenate([votes.start, np.full(beyond, votes.start[-1])]),
        target=votes.target,
        weight=np.concatenate([votes.weight, np.zeros(beyond, votes.weight.dtype)]) if single else votes.weight,
        targets=targets,
        aggregate=aggregate,
        single=single,
    )
