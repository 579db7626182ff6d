"""Trees: which ensembles of a graph may be evaluated by masks, each condition on the side that it looks at.

Owns the choice. Knows nothing of how trees are evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ranker.importing.graph_file import onnx_package
from ranker.importing.splitting.operations.ensembles import Column, TreeColumns
from ranker.importing.splitting.reading import Graph
from ranker.importing.splitting.values import Unsplittable
from ranker.scoring.split.ensemble import Ensemble
from ranker.scoring.split.trees.attributes import NotSplittable

_OPERATORS = ("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble")


def candidates(graph: Graph) -> list[str]:
    """Return the outputs with the scores of ensembles whose labels nobody takes, the largest first."""
    taken = {name for node in graph.nodes for name in node.input}
    found = [
        node
        for node in graph.nodes
        if node.domain == "ai.onnx.ml" and node.op_type in _OPERATORS and not taken & set(node.output[:-1])
    ]
    return [node.output[-1] for node in sorted(found, key=lambda node: -node.ByteSize())]


def spans_sides(columns: TreeColumns) -> bool:
    """Whether more than one side gives columns; the trees of one are an operation like any other."""
    return len({side for side, _ in columns.parts}) > 1


def make(node: Any, columns: Sequence[Column]) -> Ensemble:
    """Make the ensemble of a node, whose columns are named by side and place.

    Raises:
        Unsplittable: it is of a kind that is not evaluated by masks.
    """
    onnx = onnx_package()
    attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    for name, value in attributes.items():
        if isinstance(value, onnx.TensorProto):
            attributes[name] = onnx.numpy_helper.to_array(value)
    try:
        return Ensemble.from_node(attributes, node.op_type, columns)
    except NotSplittable as err:
        raise Unsplittable(str(err)) from err
