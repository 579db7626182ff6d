"""Import asks a graph which ids its tables hold, and the schema says so from then on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from ranker.importing.compile import compile_graph
from ranker.scoring.model import OnnxModel
from ranker.scoring.registry import find_model, load_model, store_model
from ranker.vectors.feature import Feature
from ranker.vectors.schema import FeatureSchema
from tests.support.models import mlp_onnx, onnx_bytes, schema_of_width, temporary_model_store, tensor

TABLE = np.arange(500, dtype=np.float32)


def by_id(kind: int = TensorProto.INT64, first: int = 0) -> bytes:
    """Scores are read from a table of 500, by the input `item_id` less the first id."""
    nodes = [
        helper.make_node("Cast", ["item_id"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Sub", ["whole", "first"], ["index"]),
        helper.make_node("Gather", ["table", "index"], ["looked_up"]),
        helper.make_node("Add", ["looked_up", "age"], ["scores"]),
    ]
    inputs = [tensor("age", ["n", 1]), tensor("item_id", ["n", 1], kind)]
    constants = {"table": TABLE, "first": np.array(first, dtype=np.int64)}
    return onnx_bytes(nodes, inputs, [tensor("scores", ["n", 1])], constants)


def schema(*product: Any) -> FeatureSchema:
    return FeatureSchema.from_mapping({"user": {"features": ["age"]}, "product": {"features": list(product)}})


def bounded(content: bytes, of: FeatureSchema) -> Feature:
    (feature,) = OnnxModel(compile_graph(content, of), of).find_bounds().product.features
    return feature


@pytest.mark.parametrize("kind", ["float32", "int32", "int64"])
def test_id_has_the_bounds_of_its_table(kind: str) -> None:
    declared = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32, "int64": TensorProto.INT64}[kind]
    feature = bounded(by_id(declared), schema({"name": "item_id", "type": kind}))
    assert (feature.min, feature.max) == (0, 499)


def test_id_that_the_graph_shifts_has_the_bounds_of_what_is_stored() -> None:
    feature = bounded(by_id(first=1000), schema({"name": "item_id", "type": "int64", "default": 1000}))
    assert (feature.min, feature.max) == (1000, 1499)


def test_what_the_schema_says_of_bounds_stays() -> None:
    feature = bounded(by_id(), schema({"name": "item_id", "type": "int64", "max": 9}))
    assert (feature.min, feature.max) == (None, 9)


def test_each_id_of_a_vector_has_the_bounds_of_its_own_table() -> None:
    names = ["a", "b", "c"]
    nodes = [helper.make_node("Split", ["ids"], names, axis=1)]
    for name in names:
        nodes += [helper.make_node("Gather", [f"table_{name}", name], [f"of_{name}"])]
    nodes += [helper.make_node("Sum", ["of_a", "of_b", "of_c", "age"], ["scores"])]
    tables = {f"table_{name}": TABLE[:size] for name, size in zip(names, (10, 20, 30), strict=True)}
    inputs = [tensor("age", ["n", 1]), tensor("ids", ["n", 3], TensorProto.INT64)]
    content = onnx_bytes(nodes, inputs, [tensor("scores", ["n", 1])], tables)
    feature = bounded(content, schema({"name": "ids", "type": "int64", "shape": [3]}))
    assert (feature.min, feature.max) == ((0, 0, 0), (9, 19, 29))


def test_history_has_the_bounds_of_its_table() -> None:
    nodes = [
        helper.make_node("Gather", ["table", "viewed"], ["looked_up"]),
        helper.make_node("ReduceSum", ["looked_up", "axis"], ["sum"], keepdims=1),
        helper.make_node("Add", ["sum", "age"], ["scores"]),
    ]
    inputs = [tensor("age", ["n", 1]), tensor("viewed", ["n", 4], TensorProto.INT64)]
    constants = {"table": TABLE[:50], "axis": np.array([1])}
    content = onnx_bytes(nodes, inputs, [tensor("scores", ["n", 1])], constants)
    feature = bounded(content, schema({"name": "viewed", "type": "product", "length": 4}))
    assert (feature.min, feature.max) == (0, 49)


def test_graph_without_tables_leaves_the_schema_as_it_is() -> None:
    plain = schema_of_width(3, 5)
    assert OnnxModel(mlp_onnx(8), plain).find_bounds() is plain


def test_stored_model_carries_the_bounds(tmp_path: Path) -> None:
    given = schema({"name": "item_id", "type": "int64"})
    with temporary_model_store(tmp_path):
        graph = compile_graph(by_id(), given)
        tag, _ = store_model(graph, given, "by-id")
        loaded = load_model(find_model(tag))
        assert store_model(graph, given, "by-id") == (tag, False)
    (feature,) = loaded.schema.product.features
    assert (feature.min, feature.max) == (0, 499)
    assert loaded.schema.fingerprint == given.fingerprint
    assert loaded.schema.product.bounds.find_beyond(np.zeros((1, 3), np.float32)).tolist() == [False]
