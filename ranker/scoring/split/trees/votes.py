"""Votes of leaves: what each leaf gives to which target, and how the sums are finished, as ONNX Runtime reads a node.

Owns the rules that the specification leaves open: one weight a leaf for one target, two classes with one column of
weights, targets that no leaf votes for. Knows nothing of bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.scoring.split.trees.attributes import NotSplittable
from ranker.scoring.split.trees.node import Trees, Vote
from ranker.scoring.split.trees.scores import Aggregate, Finish, Rule


@dataclass(frozen=True)
class Votes:
    """Votes of the leaves.

    Attributes:
        start: Where the votes of each leaf begin, and where the last end, shape (leaves + 1,).
        target: The target of each vote.
        weight: What it gives, in the type in which the votes are summed.
    """

    start: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    weight: npt.NDArray[Any]


def list_votes(trees: Trees, leaves: Sequence[int]) -> Votes:
    """Return the votes of leaves, given by their nodes.

    Raises:
        NotSplittable: a weight is not a number where the smallest or largest is asked for.
    """
    # With one target ONNX Runtime takes the first weight of a leaf.
    lists: list[Sequence[Vote]] = [trees.votes[leaf][: 1 if trees.targets == 1 else None] for leaf in leaves]
    votes = Votes(
        start=np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64),
        target=np.array([target for one in lists for target, _ in one], np.int64),
        weight=np.array([weight for one in lists for _, weight in one], trees.dtype),
    )
    if trees.aggregate in (Aggregate.MIN, Aggregate.MAX) and np.isnan(votes.weight).any():
        raise NotSplittable(f"{trees.aggregate.name} is asked of weights that are not numbers")
    return votes


def choose_finish(trees: Trees, votes: Votes, tree_leaf: Sequence[int]) -> Finish:
    """Return what is done with the sums.

    Args:
        trees: The node.
        votes: What its leaves give.
        tree_leaf: First leaf of each tree.

    Raises:
        NotSplittable: ONNX Runtime's answer would depend on which leaves have voted at all, or is not defined.
    """
    always, never = _count_voters(votes, tree_leaf, trees.targets)
    rule, base, voted = _finish_classes(trees, always, never) if trees.classifier else _finish_targets(trees, always)
    if rule in (Rule.COMPLEMENT, Rule.OPPOSITE) and trees.transform.name == "PROBIT":
        raise NotSplittable("PROBIT of one column of weights for two classes leaves the second class undefined")
    if not trees.classifier and base.any() and not (always | never).all() and _sums(trees):
        raise NotSplittable("some leaves vote for a target that has a base value, and others of the same tree do not")
    return Finish(rule, trees.aggregate, trees.transform, len(trees.roots), base, voted & ~(never & _unset(trees)))


def _sums(trees: Trees) -> bool:
    return trees.aggregate in (Aggregate.SUM, Aggregate.AVERAGE)


def _unset(trees: Trees) -> bool:
    """Whether a target without votes is 0 whatever its base value."""
    return not trees.classifier or trees.targets == 2 or not trees.base


def _count_voters(
    votes: Votes, tree_leaf: Sequence[int], targets: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which targets always get a vote, since all leaves of one tree give one, and which never do."""
    leaves = len(votes.start) - 1
    given = np.zeros((leaves, targets), np.bool_)
    given[np.repeat(np.arange(leaves), np.diff(votes.start)), votes.target] = True
    whole_trees: npt.NDArray[np.bool_] = np.logical_and.reduceat(given, np.asarray(tree_leaf), axis=0)
    return np.any(whole_trees, axis=0, keepdims=True)[0], ~np.any(given, axis=0, keepdims=True)[0]


def _finish_targets(
    trees: Trees, always: npt.NDArray[np.bool_]
) -> tuple[Rule, npt.NDArray[Any], npt.NDArray[np.bool_]]:
    base = np.zeros(trees.targets, trees.dtype)
    if len(trees.base) not in (0, trees.targets):
        raise NotSplittable(f"it has {len(trees.base)} base values for {trees.targets} targets")
    base[: len(trees.base)] = trees.base
    return Rule.PLAIN, base, np.ones(len(always), np.bool_)


def _finish_classes(
    trees: Trees, always: npt.NDArray[np.bool_], never: npt.NDArray[np.bool_]
) -> tuple[Rule, npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return the rule for classes; what two of them become depends on which columns of weights there are."""
    if trees.aggregate is not Aggregate.SUM:
        raise NotSplittable(f"a classifier with {trees.aggregate.name} is not defined")
    base = np.zeros(trees.targets, trees.dtype)
    everyone = np.ones(trees.targets, np.bool_)
    if len(trees.base) not in ({0, 1, 2} if trees.targets == 2 else {0, trees.targets}):
        raise NotSplittable(f"it has {len(trees.base)} base values for {trees.targets} classes")
    base[: len(trees.base)] = trees.base
    if trees.targets > 2:
        return Rule.PLAIN, base, everyone
    depends = ~(always | never)
    if depends[1] or (depends[0] and trees.base):
        raise NotSplittable("some leaves vote for a class of two, and others of the same tree do not")
    if len(trees.base) == 2:
        return (Rule.MIRRORED if always[1] else Rule.PLAIN), base, everyone
    if not never[1]:
        return Rule.PLAIN, base, everyone
    negative = any(weight < 0 for votes in trees.votes.values() for _, weight in votes)
    return (Rule.OPPOSITE if negative else Rule.COMPLEMENT), base, everyone
