"""Networks of the profiles `deep` and `ids`, with seeded weights, as ONNX."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.profiles.layout import LAYOUTS

SEED = 20281
DEEP_HIDDEN = (512, 256, 64)
EMBEDDING = 16
TABLES = (100, 1_000, 10_000)
"""Rows of the embedding tables, in turn."""
BOTTOM, TOP = (64, EMBEDDING), (256, 64)
"""Hidden units of the networks below and above the interactions."""


class _Graph:
    """Nodes and weights, as they are added."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng([SEED, seed])
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, values: object) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def normal(self, name: str, shape: tuple[int, ...], scale: float) -> str:
        return self.constant(name, self._random.normal(0, scale, shape).astype(np.float32))

    def layers(self, name: str, value: str, widths: tuple[int, ...]) -> str:
        """Add fully connected layers with a ReLU behind each."""
        for i, (before, after) in enumerate(pairwise(widths)):
            weights = self.normal(f"{name}_w{i}", (before, after), (2 / before) ** 0.5)
            bias = self.constant(f"{name}_b{i}", np.zeros(after, dtype=np.float32))
            hidden = self.add("Gemm", [value, weights, bias], f"{name}_h{i}")
            value = self.add("Relu", [hidden], f"{name}_a{i}")
        return value

    def finish(self, name: str, value: str, width: int, inputs: dict[str, tuple[int, int]]) -> bytes:
        """Return the graph with one score between 0 and 1 made of the last layer."""
        weights = self.normal("out_w", (width, 1), (1 / width) ** 0.5)
        logit = self.add("MatMul", [value, weights], "logit")
        column = self.add("Sigmoid", [logit], "column")
        self.add("Reshape", [column, self.constant("flat", np.array([-1]))], "scores")
        given = [helper.make_tensor_value_info(i, kind, ["n", columns]) for i, (kind, columns) in inputs.items()]
        scores = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n"])]
        graph = helper.make_graph(self.nodes, name, given, scores, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))


def build_deep() -> bytes:
    """Return a network of three hidden layers over one matrix."""
    graph, layout = _Graph(0), LAYOUTS["deep"]
    columns = layout.user.width + layout.product.width
    last = graph.layers("mlp", "features", (columns, *DEEP_HIDDEN))
    return graph.finish("ranker-deep", last, DEEP_HIDDEN[-1], {"features": (TensorProto.FLOAT, columns)})


def build_ids() -> bytes:
    """Return a network after DLRM: embeddings of ids, the dense features as one more, and the products of all pairs."""
    graph, layout = _Graph(1), LAYOUTS["ids"]
    dense, ids = len(layout.columns("features")), len(layout.columns("ids"))
    bottom = graph.layers("bottom", "features", (dense, *BOTTOM))
    vectors = [graph.add("Unsqueeze", [bottom, graph.constant("one", np.array([1]))], "bottom_vector")]
    for i, rows in enumerate(table_rows()):
        table = graph.normal(f"table{i}", (rows, EMBEDDING), EMBEDDING**-0.5)
        column = graph.add("Gather", ["ids", graph.constant(f"at{i}", np.array([i]))], f"id{i}", axis=1)
        vectors.append(graph.add("Gather", [table, column], f"vector{i}", axis=0))
    n = ids + 1
    stacked = graph.add("Concat", vectors, "vectors", axis=1)
    turned = graph.add("Transpose", [stacked], "turned", perm=[0, 2, 1])
    products = graph.add("MatMul", [stacked, turned], "products")
    flat = graph.add("Reshape", [products, graph.constant("square", np.array([-1, n * n]))], "products_flat")
    below = np.flatnonzero(np.tri(n, n, -1))
    pairs = graph.add("Gather", [flat, graph.constant("below", below)], "pairs", axis=1)
    joined = graph.add("Concat", [bottom, pairs], "joined", axis=1)
    last = graph.layers("top", joined, (EMBEDDING + len(below), *TOP))
    inputs = {"features": (TensorProto.FLOAT, dense), "ids": (TensorProto.INT64, ids)}
    return graph.finish("ranker-ids", last, TOP[-1], inputs)


def table_rows() -> list[int]:
    """Return how many rows the table of each id has, in the order of the input."""
    ids = len(LAYOUTS["ids"].columns("ids"))
    return [TABLES[i % len(TABLES)] for i in range(ids)]
