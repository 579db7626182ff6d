"""Rounding: where a graph shows the last bits of what it computes: at a step, and at the end of a curve.

Owns which operators do. Knows nothing of sides or parts.
"""

from __future__ import annotations

from typing import Any

from ranker.importing.graph_file import onnx_package
from ranker.importing.splitting.reading import SCORE, Graph
from ranker.importing.splitting.values import Fact

_STEPS = """
    ArgMax ArgMin Binarizer Ceil DynamicQuantizeLinear Equal Floor Greater GreaterOrEqual Hardmax LabelEncoder Less
    LessOrEqual Mod QuantizeLinear Round Sign ThresholdedRelu TopK TreeEnsemble TreeEnsembleClassifier
    TreeEnsembleRegressor
"""
_ENDS = "Erf HardSigmoid Sigmoid Softmax Softsign Tanh"
_MOVES = "Cast Flatten Gather Identity Reshape Slice Split Squeeze Transpose Unsqueeze"
"""Operators that give the values of their first input as they are."""
_SUMS = "Add Concat Max Mean Min Mul Neg ReduceMean ReduceSum Sub Sum"
"""Operators whose results have the steps of all that they take."""


def has_steps(node: Any, given: Fact) -> bool:
    """Whether the last bits of what an operation takes may change what it gives by more than that.

    Args:
        node: The operation.
        given: What it takes first.
    """
    if node.op_type == "Cast":
        to = next(one.i for one in node.attribute if one.name == "to")
        kind = onnx_package().helper.tensor_dtype_to_np_dtype(to).kind
        return kind in "iub" and given.dtype is not None and given.dtype.kind == "f"
    return node.op_type in _STEPS.split()


def ends(graph: Graph) -> bool:
    """Whether the score is made of curves that end, such as a sigmoid, where it has the steps of the largest scores."""
    made_by = {name: node for node in graph.nodes for name in node.output}
    waiting, found = [SCORE], False
    while waiting:
        name = waiting.pop()
        if not name or name in graph.constants:
            continue
        node = made_by.get(name)
        if node is None:
            return False
        if node.op_type in _ENDS.split():
            found = True
        elif node.op_type in _MOVES.split():
            waiting.append(node.input[0])
        elif node.op_type in _SUMS.split():
            waiting += node.input
        else:
            return False
    return found
