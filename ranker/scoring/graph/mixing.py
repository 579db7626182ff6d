"""Mixing of rows: which operator of a graph makes a row's score depend on the rows scored with it, and the ways out.

Owns the causes and their remedies. That rows do mix, `proof` has shown; here is why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ranker.scoring.graph.onnx_file import Node

TOGETHER = (
    "Or say `rows: together` in the schema: each request's list is then scored in a call of its own, and its products "
    "may depend on one another."
)
_REDUCING = (
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSumExp",
)
_OVER_AXES = (*_REDUCING, "Softmax", "LogSoftmax", "CumSum", "TopK", "LpNormalization", "MeanVarianceNormalization")


def why_rows_mix(nodes: Sequence[Node], constants: Mapping[str, tuple[int, ...]]) -> str:
    """Say which operator may be the cause, and what to do.

    Args:
        nodes: The operators of the graph.
        constants: Its small constants, among which the axes are that attributes do not say.
    """
    if any(node.operator in ("DynamicQuantizeLinear", "DynamicQuantizeMatMul") for node in nodes):
        return (
            "It is quantised dynamically (DynamicQuantizeLinear), and takes the scale from all rows of a batch. "
            f"Use onnxruntime.quantization.quantize_static, or the float32 graph. {TOGETHER}"
        )
    if any(node.operator == "BatchNormalization" and len(node.outputs) > 1 for node in nodes):
        return (
            "It normalises by the statistics of the batch (BatchNormalization in training). Export it for inference: "
            f"model.eval() in PyTorch. {TOGETHER}"
        )
    over_rows = dict.fromkeys(node.operator for node in nodes if _works_over_rows(node, constants))
    cause = f"{' and '.join(over_rows)} works over axis 0, the rows. " if over_rows else ""
    return (
        f"{cause}Export it for inference (model.eval() in PyTorch), with nothing normalised or summed over the batch "
        f"axis. {TOGETHER}"
    )


def _works_over_rows(node: Node, constants: Mapping[str, tuple[int, ...]]) -> bool:
    if node.operator not in _OVER_AXES:
        return False
    given = next((constants[name] for name in node.inputs[1:] if name in constants), ())
    axes = node.axes or (given if node.operator != "TopK" else ())
    return 0 in axes or (not axes and node.operator in _REDUCING)
