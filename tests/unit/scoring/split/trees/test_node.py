"""Nodes of the three operators as one list, and which of them stay in the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ranker.scoring.split.trees.attributes import NotSplittable
from ranker.scoring.split.trees.node import Mode, Trees, read_trees
from ranker.scoring.split.trees.scores import Aggregate, Transform

FIRST: dict[str, Any] = {
    "nodes_treeids": [7, 7, 7, 2, 2, 2],
    "nodes_nodeids": [0, 5, 1, 0, 1, 2],
    "nodes_featureids": [3, 0, 0, 1, 0, 0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_GT", "LEAF", "LEAF"],
    "nodes_values": [0.5, 0.0, 0.0, -1.5, 0.0, 0.0],
    "nodes_missing_value_tracks_true": [1, 0, 0, 2, 0, 0],
    "nodes_truenodeids": [5, 0, 0, 1, 0, 0],
    "nodes_falsenodeids": [1, 0, 0, 2, 0, 0],
    "target_treeids": [7, 7, 2, 2, 2],
    "target_nodeids": [5, 1, 1, 2, 0],
    "target_ids": [0, 1, 1, 0, 1],
    "target_weights": [1.0, 2.0, 3.0, 4.0, 9.0],  # the last is of an inner node
    "n_targets": 2,
    "base_values": [0.5, 0.25],
    "aggregate_function": "AVERAGE",
    "post_transform": "SOFTMAX",
}
"""Two trees of two leaves, of TreeEnsembleRegressor."""
CLASSES: dict[str, Any] = {
    name.replace("target_", "class_"): given for name, given in FIRST.items() if name != "n_targets"
} | {"classlabels_strings": ["a", "b"]}
"""The same of TreeEnsembleClassifier."""
READ: dict[str, Any] = {
    "roots": [0, 3],
    "modes": [Mode.LEQ, Mode.LEAF, Mode.LEAF, Mode.GT, Mode.LEAF, Mode.LEAF],
    "features": [3, 0, 0, 1, 0, 0],
    "thresholds": [0.5, 0.0, 0.0, -1.5, 0.0, 0.0],
    "missing": [True, False, False, False, False, False],
    "members": {},
    "true": [1, 1, 2, 4, 4, 5],
    "false": [2, 1, 2, 5, 4, 5],
    "votes": {1: [(0, 1.0)], 2: [(1, 2.0)], 4: [(1, 3.0)], 5: [(0, 4.0)]},
    "targets": 2,
    "dtype": np.dtype(np.float32),
    "base": (0.5, 0.25),
    "aggregate": Aggregate.AVERAGE,
    "transform": Transform.SOFTMAX,
    "classifier": False,
}
FIFTH: dict[str, Any] = {
    "tree_roots": [0, 2, 3],
    "nodes_modes": np.array([Mode.LEQ, Mode.MEMBER, Mode.GT, Mode.MEMBER], np.uint8),
    "nodes_featureids": [3, 1, 2, 4],
    "nodes_splits": np.array([0.5, 0.0, -1.5, 0.0]),
    "nodes_missing_value_tracks_true": [0, 1, 0, 0],
    "nodes_truenodeids": [1, 1, 0, 2],
    "nodes_trueleafs": [0, 1, 1, 1],
    "nodes_falsenodeids": [4, 2, 0, 1],
    "nodes_falseleafs": [1, 1, 1, 1],
    "membership_values": np.array([1.0, 2.0, np.nan, 5.0, np.nan]),
    "leaf_targetids": [0, 1, 0, 1, 0],
    "leaf_weights": np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
    "n_targets": 2,
    "aggregate_function": 2,
    "post_transform": 1,
}
"""Trees of three leaves, of one and of two, of TreeEnsemble; its leaves follow the four nodes."""


def test_nodes_and_votes_of_the_older_operators_are_found_by_tree_and_number() -> None:
    assert read_trees(FIRST, "TreeEnsembleRegressor") == Trees(**READ)
    assert read_trees(CLASSES, "TreeEnsembleClassifier") == Trees(**READ | {"classifier": True})


def test_classes_are_counted_by_whichever_labels_there_are() -> None:
    numbered = {name: given for name, given in CLASSES.items() if name != "classlabels_strings"}
    assert read_trees(numbered | {"classlabels_int64s": [4, 5, 6]}, "TreeEnsembleClassifier").targets == 3


def test_what_is_not_said_of_the_older_operators_is_a_plain_sum() -> None:
    left_out = ("base_values", "aggregate_function", "post_transform", "nodes_missing_value_tracks_true")
    given = {name: value for name, value in FIRST.items() if name not in left_out}
    plain = {"base": (), "aggregate": Aggregate.SUM, "transform": Transform.NONE, "missing": [False] * 6}
    assert read_trees(given, "TreeEnsembleRegressor") == Trees(**READ | plain)


def test_votes_are_summed_in_the_type_of_their_weights() -> None:
    given = {name: value for name, value in FIRST.items() if name != "target_weights"}
    doubles = {"target_weights_as_tensor": np.array(FIRST["target_weights"], np.float64)}
    assert read_trees(given | doubles, "TreeEnsembleRegressor").dtype == np.float64
    assert read_trees(FIFTH, "TreeEnsemble").dtype == np.float64


def test_leaves_of_the_newest_operator_follow_its_nodes_and_a_tree_of_one_leaf_begins_there() -> None:
    assert read_trees(FIFTH, "TreeEnsemble") == Trees(
        roots=[0, 4, 3],
        modes=[Mode.LEQ, Mode.MEMBER, Mode.GT, Mode.MEMBER, *[Mode.LEAF] * 5],
        features=[3, 1, 2, 4, 0, 0, 0, 0, 0],
        thresholds=[0.5, 0.0, -1.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        missing=[False, True, *[False] * 7],
        members={1: (1.0, 2.0), 3: (5.0,)},
        true=[1, 5, 4, 6, 4, 5, 6, 7, 8],
        false=[8, 6, 4, 5, 4, 5, 6, 7, 8],
        votes={4: [(0, 1.0)], 5: [(1, 2.0)], 6: [(0, 3.0)], 7: [(1, 4.0)], 8: [(0, 5.0)]},
        targets=2,
        dtype=np.dtype(np.float64),
        base=(),
        aggregate=Aggregate.MIN,
        transform=Transform.SOFTMAX,
        classifier=False,
    )


def test_what_is_not_said_of_the_newest_operator_is_a_plain_sum() -> None:
    given = {name: value for name, value in FIFTH.items() if name not in ("aggregate_function", "post_transform")}
    read = read_trees(given, "TreeEnsemble")
    assert (read.aggregate, read.transform) == (Aggregate.SUM, Transform.NONE)


def test_tree_whose_branches_meet_at_a_node_begins_at_its_root() -> None:
    both = {"nodes_falsenodeids": [1, 2, 0, 1], "nodes_falseleafs": [0, 1, 1, 1]}
    assert read_trees(FIFTH | both, "TreeEnsemble").roots == [0, 4, 3]


SIZES = {
    "TreeEnsembleRegressor": (
        *("nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_values", "nodes_truenodeids"),
        *("nodes_falsenodeids", "target_treeids", "target_nodeids", "target_ids"),
    ),
    "TreeEnsemble": (
        *("nodes_featureids", "nodes_splits", "nodes_truenodeids", "nodes_trueleafs", "nodes_falsenodeids"),
        *("nodes_falseleafs", "leaf_targetids"),
    ),
}


@pytest.mark.parametrize(("op_type", "name"), [(of, name) for of, names in SIZES.items() for name in names])
@pytest.mark.parametrize("more", [-1, 1])
def test_list_that_is_not_as_long_as_the_others_stays_in_the_graph(op_type: str, name: str, more: int) -> None:
    given = FIFTH if op_type == "TreeEnsemble" else FIRST
    needed = len(given[name])
    cut = np.resize(given[name], needed + more)
    with pytest.raises(NotSplittable, match=f"^{name} has {needed + more} entries where {needed} are needed$"):
        read_trees(given | {name: cut if isinstance(given[name], np.ndarray) else cut.tolist()}, op_type)


NO_NODES = {name: [] for name, given in FIRST.items() if isinstance(given, list)}


@pytest.mark.parametrize(
    ("op_type", "changed", "reason"),
    [
        ("TreeEnsembleRanker", {}, "TreeEnsembleRanker is no tree ensemble"),
        ("TreeEnsembleRegressor", {"nodes_nodeids": [0, 5, 5, 0, 1, 2]}, "node 5 of tree 7 is there twice"),
        (
            "TreeEnsembleRegressor",
            {"nodes_treeids": [7, 7, 2, 2, 2, 7], "nodes_nodeids": [0, 5, 0, 1, 2, 1]},
            "the nodes of a tree are not listed one after another",
        ),
        ("TreeEnsembleRegressor", {"nodes_truenodeids": [2, 0, 0, 1, 0, 0]}, "node 2 of tree 7 is not there"),
        ("TreeEnsembleRegressor", {"nodes_falsenodeids": [1, 0, 0, 5, 0, 0]}, "node 5 of tree 2 is not there"),
        ("TreeEnsembleRegressor", {"target_nodeids": [5, 1, 1, 9, 0]}, "node 9 of tree 2 is not there"),
        ("TreeEnsembleRegressor", {"target_nodeids": [5, 5, 1, 2, 0]}, "leaf 2 gives nothing"),
        ("TreeEnsembleRegressor", NO_NODES, "there is no tree"),
        ("TreeEnsembleRegressor", {"n_targets": 0}, "it has 0 targets or classes"),
        ("TreeEnsembleClassifier", {"classlabels_strings": ["a"]}, "it has 1 targets or classes"),
        (
            "TreeEnsembleRegressor",
            {"target_ids": [0, 1, 2, 0, 1]},
            "leaf 4 gives something to a target that is not there",
        ),
        (
            "TreeEnsembleRegressor",
            {"target_ids": [-1, 1, 1, 0, 1]},
            "leaf 1 gives something to a target that is not there",
        ),
        ("TreeEnsembleRegressor", {"nodes_modes": ["BRANCH_XOR", *FIRST["nodes_modes"][1:]]}, "'XOR' is not known"),
        ("TreeEnsembleRegressor", {"aggregate_function": "MODE"}, "'MODE' is not known"),
        ("TreeEnsembleRegressor", {"post_transform": "TANH"}, "'TANH' is not known"),
        ("TreeEnsemble", {"nodes_modes": np.array([0, 7, 3, 6])}, "a node has a mode that TreeEnsemble does not know"),
        ("TreeEnsemble", {"nodes_modes": np.array([-1, 6, 3, 6])}, "a node has a mode that TreeEnsemble does not know"),
        ("TreeEnsemble", {"nodes_truenodeids": [4, 1, 0, 2]}, "a true branch leads to node 4, which is not there"),
        ("TreeEnsemble", {"nodes_falsenodeids": [4, 2, 0, 5]}, "a false branch leads to node 5, which is not there"),
        ("TreeEnsemble", {"nodes_falsenodeids": [3, -1, 0, 1]}, "a false branch leads to node -1, which is not there"),
        ("TreeEnsemble", {"tree_roots": [0, 4]}, "a tree begins at a node that is not there"),
        ("TreeEnsemble", {"tree_roots": [-1, 0]}, "a tree begins at a node that is not there"),
        ("TreeEnsemble", {"tree_roots": []}, "there is no tree"),
        (
            "TreeEnsemble",
            {"membership_values": np.array([1.0, np.nan])},
            "a node that asks for membership has no values",
        ),
        ("TreeEnsemble", {"membership_values": []}, "a node that asks for membership has no values"),
        ("TreeEnsemble", {"n_targets": 0}, "it has 0 targets or classes"),
        ("TreeEnsemble", {"aggregate_function": 7}, "aggregate 7 is not known"),
        ("TreeEnsemble", {"post_transform": 9}, "transform 9 is not known"),
    ],
)
def test_trees_that_are_not_understood_stay_in_the_graph_and_the_reason_is_said(
    op_type: str, changed: dict[str, Any], reason: str
) -> None:
    given = {"TreeEnsemble": FIFTH, "TreeEnsembleClassifier": CLASSES}.get(op_type, FIRST)
    with pytest.raises(NotSplittable, match=f"^{reason}$"):
        read_trees(given | changed, op_type)


def test_a_single_target_is_enough_for_a_regressor_and_for_the_newest_operator() -> None:
    of_one = {"target_ids": [0] * 5, "n_targets": 1}
    assert read_trees(FIRST | of_one, "TreeEnsembleRegressor").targets == 1
    assert read_trees(FIFTH | {"leaf_targetids": [0] * 5, "n_targets": 1}, "TreeEnsemble").targets == 1


def test_flags_of_missing_values_that_are_not_one_a_node_are_none() -> None:
    for of, op_type, nodes in ((FIRST, "TreeEnsembleRegressor", 6), (FIFTH, "TreeEnsemble", 9)):
        read = read_trees(of | {"nodes_missing_value_tracks_true": [1]}, op_type)
        assert read.missing == [False] * nodes


def test_trees_without_membership_need_no_values_of_it() -> None:
    modes = {"nodes_modes": np.array([Mode.LEQ, Mode.EQ, Mode.GT, Mode.NEQ], np.uint8), "membership_values": []}
    assert read_trees(FIFTH | modes, "TreeEnsemble").members == {}


def test_number_of_targets_that_is_not_said_is_none_at_all() -> None:
    for of, op_type in ((FIRST, "TreeEnsembleRegressor"), (FIFTH, "TreeEnsemble")):
        given = {name: value for name, value in of.items() if name != "n_targets"}
        votes_for_first = {"target_ids": [0] * 5} if of is FIRST else {"leaf_targetids": [0] * 5}
        with pytest.raises(NotSplittable, match="it has 0 targets or classes"):
            read_trees(given | votes_for_first, op_type)


def test_last_list_of_members_may_go_without_its_end() -> None:
    given = FIFTH | {"membership_values": np.array([1.0, 2.0, np.nan, 5.0])}
    assert read_trees(given, "TreeEnsemble").members == {1: (1.0, 2.0), 3: (5.0,)}
