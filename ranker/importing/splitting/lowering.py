"""Lowering: operators that are sums, products and columns in disguise, written as those.

Owns the formulas of Gemm, BatchNormalization, Scaler, Imputer, LinearRegressor and LinearClassifier. Knows nothing of
sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ranker.importing.graph_file import onnx_package
from ranker.importing.splitting.part_graph import PREFIX
from ranker.importing.splitting.reading import Graph
from ranker.importing.splitting.values import ROWS, Fact

_POST = {"NONE": None, "LOGISTIC": "Sigmoid", "SOFTMAX": "Softmax"}


def lower(graph: Graph, facts: Mapping[str, Fact]) -> None:
    """Rewrite what can be, in place; `facts` say what the tensors are."""
    taken = {name for node in graph.nodes for name in node.input}
    writer = _Writer(graph, taken, facts)
    for node in graph.nodes:
        writer.called = node.name or node.output[0]
        rewrite = _REWRITES.get(("" if node.domain == "ai.onnx" else node.domain, node.op_type))
        if rewrite is None or not rewrite(writer, node):
            writer.nodes.append(node)
    graph.nodes = writer.nodes


class _Writer:
    def __init__(self, graph: Graph, taken: set[str], facts: Mapping[str, Fact]) -> None:
        self.graph = graph
        self.facts = facts
        self.taken = taken
        self.nodes: list[Any] = []
        self.producers = {name: node for node in graph.nodes for name in node.output}
        self.called = ""
        """Name of the operation that is rewritten."""
        self._onnx = onnx_package()
        self._count = 0

    def node(self, operator: str, *inputs: str, into: str = "", **attributes: Any) -> str:
        self._count += 1
        name = into or f"{PREFIX}lowered{self._count}"
        called = self.called if into else f"{self.called}/{operator}"
        self.nodes.append(self._onnx.helper.make_node(operator, list(inputs), [name], name=called, **attributes))
        return name

    def constant(self, name: str) -> Any:
        return self.graph.constants.get(name)

    def attributes(self, node: Any) -> dict[str, Any]:
        return {one.name: self._onnx.helper.get_attribute_value(one) for one in node.attribute}


def _gemm(writer: _Writer, node: Any) -> bool:
    attributes = writer.attributes(node)
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    weights = writer.constant(node.input[1])
    added = node.input[2] if len(node.input) > 2 and node.input[2] else None
    bias = writer.constant(added) if added else None
    if weights is None or attributes.get("transA") or (added and bias is None and beta != 1.0):
        return False
    weights = (weights.T if attributes.get("transB") else weights) * weights.dtype.type(alpha)
    product = (node.input[0], writer.graph.constant(np.ascontiguousarray(weights)))
    if added is None:
        writer.node("MatMul", *product, into=node.output[0])
        return True
    if bias is not None:
        added = writer.graph.constant(bias * bias.dtype.type(beta))
    writer.node("Add", writer.node("MatMul", *product), added, into=node.output[0])
    return True


def _batch_norm(writer: _Writer, node: Any) -> bool:
    attributes = writer.attributes(node)
    scale, shift, mean, variance = map(writer.constant, node.input[1:5])
    if (
        any(one is None for one in (scale, shift, mean, variance))
        or attributes.get("training_mode")
        or len(node.output) > 1
    ):
        return False
    factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + attributes.get("epsilon", 1e-5))
    offset = shift.astype(np.float64) - mean.astype(np.float64) * factor
    if (whole := writer.facts[node.output[0]].shape) is None:
        return False
    shape = (-1, *(1 for _ in whole[2:]))  # channels are the axis after the rows
    constants = [writer.graph.constant(one.astype(scale.dtype).reshape(shape)) for one in (factor, offset)]
    writer.node("Add", writer.node("Mul", node.input[0], constants[0]), constants[1], into=node.output[0])
    return True


def _scaler(writer: _Writer, node: Any) -> bool:
    attributes = writer.attributes(node)
    offset, scale = (np.array(attributes[name], dtype=np.float32) for name in ("offset", "scale"))
    values = writer.node("Cast", node.input[0], to=writer._onnx.TensorProto.FLOAT)
    less = writer.node("Sub", values, writer.graph.constant(offset))
    writer.node("Mul", less, writer.graph.constant(scale), into=node.output[0])
    return True


def _imputer(writer: _Writer, node: Any) -> bool:
    attributes = writer.attributes(node)
    replaced, values = attributes.get("replaced_value_float"), attributes.get("imputed_value_floats")
    if replaced is None or not values:
        return False
    name = node.input[0]
    replacing = writer.graph.constant(np.array(replaced, dtype=np.float32))
    absent = writer.node("IsNaN", name) if np.isnan(replaced) else writer.node("Equal", name, replacing)
    imputed = writer.graph.constant(np.array(values, dtype=np.float32))
    writer.node("Where", absent, imputed, name, into=node.output[0])
    return True


def _linear(writer: _Writer, node: Any) -> bool:
    """LinearRegressor, and LinearClassifier whose labels nobody takes: coefficients lie target after target."""
    attributes = writer.attributes(node)
    classifier = node.op_type == "LinearClassifier"
    post = attributes.get("post_transform", b"NONE").decode()
    coefficients = np.array(attributes["coefficients"], dtype=np.float32)
    intercepts = np.array(attributes.get("intercepts", ()), dtype=np.float32)
    targets = len(intercepts) if classifier else int(attributes.get("targets", 1))
    if post not in _POST or (classifier and (targets < 2 or node.output[0] in writer.taken)):
        return False
    values = writer.node("Cast", node.input[0], to=writer._onnx.TensorProto.FLOAT)
    weights = writer.graph.constant(np.ascontiguousarray(coefficients.reshape(targets, -1).T))
    name = node.output[-1]
    operator = _POST[post]
    product = writer.node("MatMul", values, weights, into="" if operator or len(intercepts) else name)
    if len(intercepts):
        product = writer.node("Add", product, writer.graph.constant(intercepts), into="" if operator else name)
    if operator:
        writer.node(operator, product, into=name, **({"axis": 1} if operator == "Softmax" else {}))
    return True


def _gather_nd(writer: _Writer, node: Any) -> bool:
    """Elements by their places on both axes, as PyTorch writes `z[:, i, j]`: of z (n, P, Q) as (n, P * Q)."""
    turned = writer.producers.get(node.input[0])
    indices = writer.constant(node.input[1])
    if turned is None or turned.op_type != "Transpose" or indices is None or writer.attributes(node).get("batch_dims"):
        return False
    shape = writer.facts[turned.input[0]].shape
    order = writer.attributes(turned).get("perm")
    if shape is None or len(shape) != 3 or shape[0] != ROWS or order != [1, 2, 0] or indices.shape[1:] != (2,):
        return False
    places = (indices % shape[1:]) @ np.array([shape[2], 1])
    flat = writer.node("Reshape", turned.input[0], writer.graph.constant(np.array([-1, shape[1] * shape[2]])))
    picked = writer.node("Gather", flat, writer.graph.constant(places), axis=1)
    writer.node("Transpose", picked, into=node.output[0], perm=[1, 0])
    return True


def _dropout(writer: _Writer, node: Any) -> bool:
    if len(node.output) > 1 and node.output[1] in writer.taken:
        return False
    training = writer.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else False
    if training is None or bool(training):
        return False
    writer.node("Identity", node.input[0], into=node.output[0])
    return True


_REWRITES: dict[tuple[str, str], Callable[[_Writer, Any], bool]] = {
    ("", "Gemm"): _gemm,
    ("", "BatchNormalization"): _batch_norm,
    ("", "Dropout"): _dropout,
    ("", "GatherND"): _gather_nd,
    ("ai.onnx.ml", "Imputer"): _imputer,
    ("ai.onnx.ml", "Scaler"): _scaler,
    ("ai.onnx.ml", "LinearRegressor"): _linear,
    ("ai.onnx.ml", "LinearClassifier"): _linear,
}
