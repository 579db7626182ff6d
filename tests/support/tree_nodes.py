"""Random tree ensembles as attributes of the three ONNX-ML operators, and ONNX Runtime's own answer to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

MODES = ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ", "MEMBER")
VALUES = np.array(
    [0.0, -0.0, 0.5, 1.0, 2.0, -1.0, 1e-45, -1e-45, 1.1754944e-38, 3.4e38, np.inf, -np.inf, np.nan], np.float32
)
"""Where comparisons go wrong: zeros, denormals, the ends of the numbers, and none."""


@dataclass
class Node:
    """A node; a leaf has votes."""

    votes: Sequence[tuple[int, float]] = ()
    feature: int = 0
    mode: str = "LEAF"
    value: float = 0.0
    members: Sequence[float] = ()
    missing: int = 0
    true: int = 0
    false: int = 0


Tree = list[Node]


def grow(
    rng: np.random.Generator,
    leaves: int,
    features: int,
    modes: Sequence[str],
    values: Sequence[float] | np.ndarray,
    voters: Sequence[Sequence[int]],
    scale: float = 1.0,
    positive: bool = False,
) -> Tree:
    """Return a tree of so many leaves, each of which votes for the targets of one of `voters`."""
    nodes, ends = [Node()], [0]
    for _ in range(leaves - 1):
        parent = nodes[ends.pop(int(rng.integers(len(ends))))]
        parent.mode, parent.feature = str(rng.choice(list(modes))), int(rng.integers(features))
        parent.value, parent.missing = float(rng.choice(values)), int(rng.integers(2))
        parent.members = [float(value) for value in rng.choice(values, 1 + int(rng.integers(3)), replace=False)]
        parent.true, parent.false = len(nodes), len(nodes) + 1
        ends += [parent.true, parent.false]
        nodes += [Node(), Node()]
    for end in ends:
        weights = rng.normal(size=9).astype(np.float32) * np.float32(scale)
        chosen = voters[int(rng.integers(len(voters)))]
        nodes[end].votes = [
            (target, float(abs(weight) if positive else weight))
            for target, weight in zip(chosen, weights, strict=False)
        ]
    return nodes


def as_first(trees: Sequence[Tree], prefix: str, double: bool = False) -> dict[str, Any]:
    """Return the attributes of TreeEnsembleRegressor (`target`) or TreeEnsembleClassifier (`class`)."""
    nodes = [(tree, at, node) for tree, each in enumerate(trees) for at, node in enumerate(each)]
    votes = [(tree, at, *vote) for tree, at, node in nodes for vote in node.votes]
    numbers = {"nodes_values": [node.value for _, _, node in nodes], f"{prefix}_weights": [vote[3] for vote in votes]}
    if double:
        numbers = {f"{name}_as_tensor": np.array(given, np.float64) for name, given in numbers.items()}
    return {
        "nodes_treeids": [tree for tree, _, _ in nodes],
        "nodes_nodeids": [at for _, at, _ in nodes],
        "nodes_featureids": [node.feature for _, _, node in nodes],
        "nodes_modes": ["LEAF" if node.mode == "LEAF" else f"BRANCH_{node.mode}" for _, _, node in nodes],
        "nodes_missing_value_tracks_true": [node.missing for _, _, node in nodes],
        "nodes_truenodeids": [node.true for _, _, node in nodes],
        "nodes_falsenodeids": [node.false for _, _, node in nodes],
        f"{prefix}_treeids": [vote[0] for vote in votes],
        f"{prefix}_nodeids": [vote[1] for vote in votes],
        f"{prefix}_ids": [vote[2] for vote in votes],
        **numbers,
    }


def as_fifth(trees: Sequence[Tree], targets: int, dtype: type = np.float32) -> dict[str, Any]:
    """Return the attributes of TreeEnsemble; every leaf has one vote."""
    nodes: list[Node] = []
    leaves: list[tuple[int, float]] = []
    roots: list[int] = []
    flags: list[tuple[int, int]] = []
    ends: list[tuple[int, int]] = []
    for tree in trees:
        inner = [at for at, node in enumerate(tree) if not node.votes]
        place = {at: len(nodes) + i for i, at in enumerate(inner)}
        place |= {at: len(leaves) + i for i, at in enumerate(at for at, node in enumerate(tree) if node.votes)}
        roots.append(len(nodes))
        if not inner:  # a tree of one leaf: both branches lead there
            nodes.append(Node(mode="LEQ"))
            ends.append((len(leaves), len(leaves)))
            flags.append((1, 1))
        for at in inner:
            node = tree[at]
            nodes.append(node)
            ends.append((place[node.true], place[node.false]))
            flags.append((int(bool(tree[node.true].votes)), int(bool(tree[node.false].votes))))
        leaves += [node.votes[0] for node in tree if node.votes]
    members = [value for node in nodes if node.mode == "MEMBER" for value in (*node.members, np.nan)]
    return {
        "tree_roots": roots,
        "nodes_featureids": [node.feature for node in nodes],
        "nodes_modes": np.array([MODES.index(node.mode) for node in nodes], np.uint8),
        "nodes_splits": np.array([node.value for node in nodes], dtype),
        "nodes_missing_value_tracks_true": [node.missing for node in nodes],
        "nodes_truenodeids": [end[0] for end in ends],
        "nodes_falsenodeids": [end[1] for end in ends],
        "nodes_trueleafs": [flag[0] for flag in flags],
        "nodes_falseleafs": [flag[1] for flag in flags],
        "leaf_targetids": [leaf[0] for leaf in leaves],
        "leaf_weights": np.array([leaf[1] for leaf in leaves], dtype),
        "n_targets": targets,
        **({"membership_values": np.array(members, dtype)} if members else {}),
    }


def tree_onnx(attributes: dict[str, Any], op_type: str, width: int, double: bool = False) -> bytes:
    """Serialise `features` (n, width) float32 -> `scores`: the operator alone, behind a Cast where it takes float64."""
    given = {
        name: numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        for name, value in attributes.items()
        if np.size(value)
    }
    outputs = ["label", "raw"] if op_type == "TreeEnsembleClassifier" else ["raw"]
    nodes = [
        helper.make_node("Cast", ["features"], ["taken"], to=TensorProto.DOUBLE if double else TensorProto.FLOAT),
        helper.make_node(op_type, ["taken"], outputs, domain="ai.onnx.ml", **given),
        helper.make_node("Cast", ["raw"], ["scores"], to=TensorProto.FLOAT),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "trees",
        [value("features", TensorProto.FLOAT, [None, width])],
        [value("scores", TensorProto.FLOAT, [None, None])],
    )
    version = 5 if op_type == "TreeEnsemble" else 3
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", version)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def ask_onnx_runtime(content: bytes, features: np.ndarray) -> np.ndarray:
    """Return what the graph's last output is for these rows, in one thread: (n, targets)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options)
    (name,) = [given.name for given in session.get_inputs()]
    answer = session.run([session.get_outputs()[-1].name], {name: features})[0]
    return np.asarray(answer).reshape(len(features), -1)


def node_attributes(content: bytes) -> tuple[dict[str, Any], str]:
    """Return the attributes and the operator of the one tree ensemble of a graph; tensors as arrays."""
    import onnx

    graph = onnx.load_from_string(content).graph
    (node,) = [node for node in graph.node if node.op_type.startswith("TreeEnsemble")]
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    tensors = {name: numpy_helper.to_array(value) for name, value in given.items() if isinstance(value, TensorProto)}
    return given | tensors, node.op_type
