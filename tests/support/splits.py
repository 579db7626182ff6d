"""Graphs cut by hand into the parts of a split model, each beside the whole graph that it must equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from onnx import NodeProto, TensorProto, helper

from ranker.scoring.split.ensemble import Ensemble
from ranker.scoring.split.model import columns_of
from ranker.scoring.split.parts import Parts, Side
from ranker.vectors.schema import FeatureSchema
from tests.support.models import mlp_onnx, mlp_weights, onnx_bytes, schema_of_width, tensor
from tests.support.tree_nodes import as_first, grow, tree_onnx

BOOKS = 100
"""Ids that the graphs with an embedding know: 0 to 99."""


class Cut(NamedTuple):
    """A graph and its parts."""

    whole: bytes
    parts: Parts


def cut_mlp(schema: FeatureSchema, hidden: int = 16) -> Cut:
    """An MLP over all columns, its first layer cut by side."""
    weights = mlp_weights(schema.width, hidden)
    of = {side: weights["w1"][columns] for side, columns in columns_of(schema).items()}
    request = onnx_bytes(
        [helper.make_node("Gemm", ["request", "w", "b"], ["request_part"])],
        [tensor("request", ["r", len(of[Side.REQUEST])])],
        [tensor("request_part", ["r", hidden])],
        {"w": of[Side.REQUEST], "b": weights["b1"]},
    )
    product = onnx_bytes(
        [helper.make_node("MatMul", ["product", "w"], ["product_part"])],
        [tensor("product", ["n", len(of[Side.PRODUCT])])],
        [tensor("product_part", ["n", hidden])],
        {"w": of[Side.PRODUCT]},
    )
    constants = {"w2": weights["w2"], "b2": weights["b2"]}
    inputs = [*_crossing(hidden, hidden)]
    nodes = [*_sum_of_sides()]
    if len(of[Side.PAIR]):
        constants["w"] = of[Side.PAIR]
        inputs.append(tensor("pair_columns", ["n", len(of[Side.PAIR])]))
        nodes += [
            helper.make_node("MatMul", ["pair_columns", "w"], ["pair"]),
            helper.make_node("Add", ["sum", "pair"], ["all"]),
        ]
    nodes += [
        helper.make_node("Relu", ["all" if len(of[Side.PAIR]) else "sum"], ["a"]),
        helper.make_node("Gemm", ["a", "w2", "b2"], ["column"]),
        helper.make_node("Reshape", ["column", "flat"], ["scores"]),
    ]
    constants["flat"] = np.array([-1])
    pair = onnx_bytes(nodes, inputs, [tensor("scores", ["n"])], constants)
    parts = Parts(request, product, pair, None, tuple(range(hidden)))
    return Cut(mlp_onnx(schema.width, hidden), parts)


def cut_towers(schema: FeatureSchema, width: int = 8) -> Cut:
    """Two towers and their product; the product's is an embedding of its first column, which knows `BOOKS` ids."""
    rng = np.random.default_rng(3)
    user = rng.standard_normal((schema.user.width, width)).astype(np.float32)
    table = rng.standard_normal((BOOKS, width)).astype(np.float32)
    constants = {"user": user, "table": table, "first": np.array([0]), "axes": np.array([1]), "flat": np.array([-1])}
    product = [
        helper.make_node("Gather", ["product", "first"], ["column"], axis=1),
        helper.make_node("Reshape", ["column", "flat"], ["number"]),
        helper.make_node("Cast", ["number"], ["id"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "id"], ["product_part"], axis=0),
    ]
    request = [helper.make_node("MatMul", ["request", "user"], ["request_part"])]
    last = [
        helper.make_node("Mul", ["of_request", "product_part"], ["both"]),
        helper.make_node("ReduceSum", ["both", "axes"], ["scores"], keepdims=0),
    ]
    cut = helper.make_node("Gather", ["request_part", "row_request"], ["of_request"], axis=0)
    parts = Parts(
        onnx_bytes(
            request,
            [tensor("request", ["r", schema.user.width])],
            [tensor("request_part", ["r", width])],
            _of(request, constants),
        ),
        onnx_bytes(
            product,
            [tensor("product", ["n", schema.product.width])],
            [tensor("product_part", ["n", width])],
            _of(product, constants),
        ),
        onnx_bytes([cut, *last], _crossing(width, width), [tensor("scores", ["n"])], _of(last, constants)),
        None,
        tuple(range(width)),
    )
    sides = [helper.make_node("Split", ["features", "widths"], ["request", "product"], axis=1)]
    whole = [*sides, *request, *product, helper.make_node("Identity", ["request_part"], ["of_request"]), *last]
    constants["widths"] = np.array([schema.user.width, schema.product.width])
    graph = onnx_bytes(whole, [tensor("features", ["n", schema.width])], [tensor("scores", ["n"])], constants)
    return Cut(graph, parts)


def cut_trees(schema: FeatureSchema, trees: int = 20, leaves: int = 100) -> Cut:
    """Trees over all columns, whose conditions are told apart by side; nothing but masks is kept of a product."""
    rng = np.random.default_rng(5)
    grown = [grow(rng, leaves, schema.width, ("LEQ", "LT"), rng.standard_normal(50), [[0]]) for _ in range(trees)]
    attributes, operator = as_first(grown, "target") | {"n_targets": 1}, "TreeEnsembleRegressor"
    place = {
        int(column): (side, at) for side, columns in columns_of(schema).items() for at, column in enumerate(columns)
    }
    ensemble = Ensemble.from_node(attributes, operator, [place[column] for column in range(schema.width)])
    return Cut(tree_onnx(attributes, operator, schema.width), Parts(None, None, None, ensemble))


PLAIN = schema_of_width(5, 3, user_default=0.5, product_default=2.0)
WITH_CONTEXT = FeatureSchema.from_mapping(
    {
        "user": {"features": ["age", {"name": "spend", "default": 1.5}]},
        "product": {"features": ["price", {"name": "stock", "default": 7}, "rating"]},
        "context": {"features": [{"name": "hour", "default": 9}]},
        "productContext": {"features": [{"name": "position", "default": 1}, {"name": "discount", "default": 0}]},
    }
)
CASES: dict[str, tuple[FeatureSchema, Callable[[FeatureSchema], Cut]]] = {
    "mlp": (PLAIN, cut_mlp),
    "towers": (PLAIN, cut_towers),
    "context": (WITH_CONTEXT, cut_mlp),
    "trees": (PLAIN, cut_trees),
    "trees-context": (WITH_CONTEXT, cut_trees),
}
"""Schemas and models that are cut by hand: a first layer, towers, what a request brings for each pair, trees."""


def _crossing(request: int, product: int) -> list:
    return [
        tensor("request_part", ["r", request]),
        tensor("product_part", ["n", product]),
        tensor("row_request", ["n"], TensorProto.INT64),
    ]


def _sum_of_sides() -> list[NodeProto]:
    return [
        helper.make_node("Gather", ["request_part", "row_request"], ["of_request"], axis=0),
        helper.make_node("Add", ["of_request", "product_part"], ["sum"]),
    ]


def _of(nodes: list[NodeProto], constants: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return those of the constants that nodes take."""
    taken = {name for node in nodes for name in node.input}
    return {name: value for name, value in constants.items() if name in taken}
