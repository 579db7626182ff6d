"""Import asks a graph which ids its tables hold, and the schema says so from then on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from ranker.errors import ModelFailed
from ranker.importing.compile import compile_graph
from ranker.scoring.graph.tables import FAR, find_defaults, with_bounds
from ranker.scoring.model import OnnxModel
from ranker.scoring.registry import find_model, load_model, store_model
from ranker.vectors.feature import Feature
from ranker.vectors.feature.columns import to_elements
from ranker.vectors.rows import Matrix, Scores
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


@dataclass
class LookUps:
    """Scores rows as a graph does that looks indices up in tables.

    Attributes:
        of: What it looks up of a row: indices, each with the size of its table.
        asked: How often it was asked for scores.
    """

    of: Callable[[np.ndarray], list[tuple[int, int]]]
    asked: int = 0

    def __call__(self, matrix: Matrix) -> Scores:
        self.asked += 1
        for index, size in (one for row in matrix for one in self.of(row)):
            if not -size <= index < size:
                within = f"must be within the inclusive range [{-size},{size - 1}]"
                raise ModelFailed(len(matrix), f"indices element out of data bounds, idx={index} {within}")
        return np.zeros(len(matrix), np.float32)


def test_id_of_a_user_has_the_bounds_of_its_table() -> None:
    of = FeatureSchema.from_mapping({"user": {"features": ["user_id"]}, "product": {"features": ["price"]}})
    found = with_bounds(of, LookUps(lambda row: [(int(row[0]), 50)]))
    assert [(one.min, one.max) for one in (*found.user.features, *found.product.features)] == [(0, 49), (None, None)]


def rounded(number: np.float32) -> int:
    """Return the number as bfloat16 has it, cut."""
    return int((number.reshape(1).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)[0])


@pytest.mark.parametrize(
    "of",
    [
        lambda row: [(rounded(row[1]), 50)],
        lambda row: [(int(row[1]), FAR[False] - 100)],
        lambda row: [(0 if row[1] == 50 else int(row[1]), 50)],
    ],
    ids=["rounded before", "nearly all there are", "one more that is mapped"],
)
def test_id_that_is_not_the_index_or_whose_end_is_not_seen_gets_no_bounds(
    of: Callable[[np.ndarray], list[tuple[int, int]]],
) -> None:
    given = schema("item_id")
    assert with_bounds(given, LookUps(of)) is given


@pytest.mark.parametrize("kind", ["float32", "int64"])
def test_elements_that_are_no_ids_are_bounded_by_their_type_alone(kind: Any) -> None:
    given = schema({"name": "ids", "type": kind, "shape": [2, 2]})
    (feature,) = given.product.features
    least, largest = feature.kind.limits
    found = with_bounds(given, LookUps(lambda row: [(int(to_elements(feature, row[np.newaxis, 1:]).items[0, 1]), 50)]))
    (bound,) = found.product.features
    ends = [[[least, 0], [least, least]], [[largest, 49], [largest, largest]]]
    assert json.dumps([bound.min, bound.max]) == json.dumps(ends)  # an id is written without a point


@pytest.mark.parametrize(
    "history",
    [
        {"type": "product", "length": 1},
        {"type": "product", "length": 4},
        {"type": "int64", "length": 3, "shape": [2]},
    ],
)
def test_the_first_id_of_a_history_is_asked_for_as_if_it_were_the_only_one(history: dict[str, Any]) -> None:
    given = schema({"name": "viewed"} | history)
    (feature,) = given.product.features

    def of(row: np.ndarray) -> list[tuple[int, int]]:
        items, counts = to_elements(feature, row[np.newaxis, 1:])
        assert counts is not None
        return [(int(item) - 1000, 50) for item in items[0, : counts[0]]]

    (bound,) = with_bounds(given, LookUps(of)).product.features
    assert (bound.min, bound.max) == (1000, 1049)


@pytest.mark.parametrize("first_of_history", [-10, 10])
def test_id_of_products_listed_and_of_those_in_a_history_has_the_bounds_of_both_tables(first_of_history: int) -> None:
    history = {"name": "viewed", "type": "product", "length": 2}
    groups = {"user": {"features": [history]}, "product": {"features": [{"name": "no", "default": 20}]}}
    given = FeatureSchema.from_mapping(groups | {"inputs": {"viewed_no": "viewed.no"}})
    ((_, listed),), ((_, remembered),) = given.columns_of("product"), given.columns_of("viewed")

    def of(row: np.ndarray) -> list[tuple[int, int]]:
        count, *items = row[remembered].astype(int).tolist()
        return [(int(row[listed.start]), 40), *((item - first_of_history, 50) for item in items[:count])]

    (bound,) = with_bounds(given, LookUps(of)).product.features
    assert (bound.min, bound.max) == (max(0, first_of_history), min(39, 49 + first_of_history))


@pytest.mark.parametrize(("features", "table", "asked"), [(1, 0, 6), (3, 0, 8), (64, 17, 18), (64, None, 1)])
def test_features_that_no_table_holds_are_ruled_out_by_halves(features: int, table: int | None, asked: int) -> None:
    user = {"features": [{"name": "age", "min": 0, "max": 99}]}
    product = {"features": [f"p{i}" for i in range(features)]}
    given = FeatureSchema.from_mapping({"user": user, "product": product})
    graph = LookUps(lambda row: [] if table is None else [(int(row[1 + table]), 50)])
    found = with_bounds(given, graph)
    bounded = [i for i, feature in enumerate(found.product.features) if feature.max == 49]
    assert bounded == ([] if table is None else [table])
    assert graph.asked == asked


def test_default_is_proposed_for_the_one_id_that_would_be_found_by_it() -> None:
    given = schema({"name": "vector", "shape": [2]}, {"name": "flag", "type": "bool"}, "brand", "item_id")
    graph = LookUps(lambda row: [(int(row[4]), 5000), (int(row[5] + row[1] + row[3]) - 1000, 50)])
    assert find_defaults(given, graph) == ["{name: item_id, default: 1000}"]
    assert find_defaults(given, LookUps(lambda row: [])) == []
