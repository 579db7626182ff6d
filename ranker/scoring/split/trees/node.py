"""Tree ensemble of ONNX-ML: TreeEnsembleRegressor, TreeEnsembleClassifier and TreeEnsemble as one kind of node list.

Owns how the three operators write trees, and how ONNX Runtime reads them where the specification leaves it open.
Knows nothing of sides or bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from ranker.scoring.split.trees.attributes import (
    Attributes,
    NotSplittable,
    find_named,
    find_numbered,
    read_array,
    read_floats,
    read_int,
    read_ints,
    read_text,
    read_texts,
    require_size,
)
from ranker.scoring.split.trees.scores import Aggregate, Transform

Vote = tuple[int, float]
"""A target, and what a leaf adds to it."""
Places = Mapping[tuple[int, int], int]
"""Tree and number in it -> where the node lies in the list of all."""


class Mode(IntEnum):
    """Mode of a node: how it compares its feature with its threshold, in the numbers of TreeEnsemble."""

    LEQ = 0
    LT = 1
    GTE = 2
    GT = 3
    EQ = 4
    NEQ = 5
    MEMBER = 6
    LEAF = 7


@dataclass(frozen=True)
class Trees:
    """Nodes of all trees in one list.

    Attributes:
        roots: First node of each tree, in the order in which they are summed.
        modes: What each node asks; a leaf asks nothing.
        features: Column that it looks at.
        thresholds: What it compares with; float64 holds the thresholds of both types exactly.
        missing: Whether NaN takes the true branch though the comparison fails.
        members: The values of a node that asks for membership.
        true: Node where it leads when the answer is yes.
        false: Node where it leads when it is no.
        votes: What a leaf gives.
        targets: How many targets or classes there are.
        dtype: In which the votes are summed.
        base: Base values as they were written.
        aggregate: How the trees' votes for one target become one.
        transform: What is made of the scores at the end.
        classifier: Whether the rules of TreeEnsembleClassifier hold.
    """

    roots: Sequence[int]
    modes: Sequence[Mode]
    features: Sequence[int]
    thresholds: Sequence[float]
    missing: Sequence[bool]
    members: Mapping[int, tuple[float, ...]]
    true: Sequence[int]
    false: Sequence[int]
    votes: Mapping[int, Sequence[Vote]]
    targets: int
    dtype: np.dtype[Any]
    base: tuple[float, ...]
    aggregate: Aggregate
    transform: Transform
    classifier: bool


def read_trees(attributes: Attributes, op_type: str) -> Trees:
    """Return the trees of a node.

    Raises:
        NotSplittable: they are of a kind, or written in a way, that is not understood.
    """
    if op_type == "TreeEnsemble":
        return _read_fifth(attributes)
    if op_type in ("TreeEnsembleRegressor", "TreeEnsembleClassifier"):
        return _read_first(attributes, op_type == "TreeEnsembleClassifier")
    raise NotSplittable(f"{op_type} is no tree ensemble")


def _read_first(attributes: Attributes, classifier: bool) -> Trees:
    """Return the trees of version 1 or 3, whose nodes and votes name a tree and a number in it."""
    names = read_texts(attributes, "nodes_modes")
    known = {name: _mode_named(name) for name in set(names)}
    modes = [known[name] for name in names]
    tree_ids = read_ints(attributes, "nodes_treeids", len(modes))
    place: dict[tuple[int, int], int] = {}
    for i, key in enumerate(zip(tree_ids, read_ints(attributes, "nodes_nodeids", len(modes)), strict=True)):
        if place.setdefault(key, i) != i:
            raise NotSplittable(f"node {key[1]} of tree {key[0]} is there twice")
    roots = [i for i, tree in enumerate(tree_ids) if i == 0 or tree_ids[i - 1] != tree]
    if len(roots) != len(set(tree_ids)):
        raise NotSplittable("the nodes of a tree are not listed one after another")

    def follow(name: str) -> list[int]:
        ids = read_ints(attributes, name, len(modes))
        return [
            i if mode is Mode.LEAF else _found(place, (tree, node))
            for i, (mode, tree, node) in enumerate(zip(modes, tree_ids, ids, strict=True))
        ]

    prefix = "class" if classifier else "target"
    weights = read_floats(attributes, f"{prefix}_weights")
    return _checked(
        Trees(
            roots=roots,
            modes=modes,
            features=read_ints(attributes, "nodes_featureids", len(modes)),
            thresholds=require_size(read_floats(attributes, "nodes_values"), len(modes), "nodes_values").tolist(),
            missing=_missing(attributes, len(modes)),
            members={},
            true=follow("nodes_truenodeids"),
            false=follow("nodes_falsenodeids"),
            votes=_read_votes(attributes, prefix, weights.tolist(), modes, place),
            targets=_class_count(attributes) if classifier else read_int(attributes, "n_targets", 0),
            dtype=weights.dtype,
            base=tuple(read_floats(attributes, "base_values").tolist()),
            aggregate=find_named(Aggregate, read_text(attributes, "aggregate_function", "SUM")),
            transform=find_named(Transform, read_text(attributes, "post_transform", "NONE")),
            classifier=classifier,
        )
    )


def _read_votes(
    attributes: Attributes, prefix: str, weights: Sequence[float], modes: Sequence[Mode], place: Places
) -> dict[int, list[Vote]]:
    """Return what each leaf gives; weights of inner nodes, which old converters wrote, count for nothing."""
    votes: dict[int, list[Vote]] = {i: [] for i, mode in enumerate(modes) if mode is Mode.LEAF}
    columns = (read_ints(attributes, f"{prefix}_{name}", len(weights)) for name in ("ids", "treeids", "nodeids"))
    for target, tree, node, weight in zip(*columns, weights, strict=True):
        if (leaf := _found(place, (tree, node))) in votes:
            votes[leaf].append((target, weight))
    return votes


def _read_fifth(attributes: Attributes) -> Trees:
    """Return the trees of version 5, whose leaves have a list of their own; here they follow the nodes."""
    codes = [int(code) for code in read_array(attributes, "nodes_modes").tolist()]
    if not all(0 <= code <= Mode.MEMBER for code in codes):
        raise NotSplittable("a node has a mode that TreeEnsemble does not know")
    weights = read_floats(attributes, "leaf_weights")
    inner, leaves = len(codes), len(weights)

    def follow(branch: str) -> list[int]:
        ids = read_ints(attributes, f"nodes_{branch}nodeids", inner)
        flags = read_ints(attributes, f"nodes_{branch}leafs", inner)
        for node, leaf in zip(ids, flags, strict=True):
            if not 0 <= node < (leaves if leaf else inner):
                raise NotSplittable(f"a {branch} branch leads to node {node}, which is not there")
        return [node + inner * bool(leaf) for node, leaf in zip(ids, flags, strict=True)] + list(
            range(inner, inner + leaves)
        )

    roots = read_ints(attributes, "tree_roots")
    if not all(0 <= root < inner for root in roots):
        raise NotSplittable("a tree begins at a node that is not there")
    true, false = follow("true"), follow("false")
    # A tree of one leaf is written as a node whose branches meet there.
    roots = [true[root] if true[root] == false[root] >= inner else root for root in roots]
    targets = read_ints(attributes, "leaf_targetids", leaves)
    return _checked(
        Trees(
            roots=roots,
            modes=[Mode(code) for code in codes] + [Mode.LEAF] * leaves,
            features=[*read_ints(attributes, "nodes_featureids", inner), *[0] * leaves],
            thresholds=[
                *require_size(read_floats(attributes, "nodes_splits"), inner, "nodes_splits").tolist(),
                *[0.0] * leaves,
            ],
            missing=[*_missing(attributes, inner), *[False] * leaves],
            members=_members(attributes, codes),
            true=true,
            false=false,
            votes={inner + i: [vote] for i, vote in enumerate(zip(targets, weights.tolist(), strict=True))},
            targets=read_int(attributes, "n_targets", 0),
            dtype=weights.dtype,
            base=(),
            aggregate=find_numbered(Aggregate, read_int(attributes, "aggregate_function", Aggregate.SUM)),
            transform=find_numbered(Transform, read_int(attributes, "post_transform", Transform.NONE)),
            classifier=False,
        )
    )


def _checked(trees: Trees) -> Trees:
    if not trees.roots:
        raise NotSplittable("there is no tree")
    if trees.targets < (2 if trees.classifier else 1):
        raise NotSplittable(f"it has {trees.targets} targets or classes")
    for leaf, votes in trees.votes.items():
        if not votes:
            raise NotSplittable(f"leaf {leaf} gives nothing")
        if not all(0 <= target < trees.targets for target, _ in votes):
            raise NotSplittable(f"leaf {leaf} gives something to a target that is not there")
    return trees


def _members(attributes: Attributes, codes: Sequence[int]) -> dict[int, tuple[float, ...]]:
    """Return the values of each node that asks for membership: one list for all, each node's ended by a NaN."""
    asking = [i for i, code in enumerate(codes) if code == Mode.MEMBER]
    if not asking:
        return {}
    values = read_floats(attributes, "membership_values")
    ends = np.flatnonzero(np.isnan(values))
    lists = [tuple(one[~np.isnan(one)].tolist()) for one in np.split(values, ends)]
    if len(lists) < len(asking) or not all(lists[: len(asking)]):
        raise NotSplittable("a node that asks for membership has no values")
    return dict(zip(asking, lists, strict=False))


def _class_count(attributes: Attributes) -> int:
    return len(read_texts(attributes, "classlabels_strings")) or len(read_ints(attributes, "classlabels_int64s"))


def _missing(attributes: Attributes, count: int) -> list[bool]:
    flags = read_ints(attributes, "nodes_missing_value_tracks_true")
    return [flag == 1 for flag in flags] if len(flags) == count else [False] * count


def _found(place: Places, key: tuple[int, int]) -> int:
    if key not in place:
        raise NotSplittable(f"node {key[1]} of tree {key[0]} is not there")
    return place[key]


def _mode_named(name: str) -> Mode:
    return Mode.LEAF if name == "LEAF" else find_named(Mode, name.removeprefix("BRANCH_"))
