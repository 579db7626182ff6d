"""Side information of a history reaches a graph's inputs as the graph itself would take it, in each shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper

from ranker.errors import ModelRejected
from ranker.importing.compile import compile_graph
from ranker.importing.suggesting.suggestion import suggest
from ranker.scoring.graph.compiled import read_note
from ranker.scoring.model import OnnxModel
from ranker.scoring.session import Session
from ranker.vectors.feature.values import parse
from ranker.vectors.schema import FeatureSchema
from tests.support.models import onnx_bytes, tensor
from tests.unit.importing.test_preamble import run, weighted

N = 5
HISTORY = [7, 8, 9]
STYLES = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
PADDED = np.array([*STYLES, [0, 0]], dtype=np.float32)


def schema(history: dict[str, Any] | None = None, **more: Any) -> FeatureSchema:
    viewed = {"name": "viewed", "type": "product", "length": 4} | (history or {})
    style, no = {"name": "style", "shape": [2]}, {"name": "no", "type": "int64"}
    groups = {"user": {"features": [viewed]}, "product": {"features": ["price", style, no]}}
    return FeatureSchema.from_mapping(groups | {"inputs": {"viewed_style": "viewed.style"}} | more)


def rows(found: FeatureSchema, numbers: list[int] | None = None) -> np.ndarray:
    """Rows of one user, with a history, and N products."""
    values = {("user", "viewed"): HISTORY, ("viewed", "style"): STYLES, ("viewed", "no"): numbers}
    parts = []
    for name, group in found.groups.items():
        for feature in group.features:
            value = values.get((name, feature.name))
            columns = np.zeros((N, feature.width), np.float32)
            columns[:] = np.arange(N)[:, np.newaxis] if value is None else parse(feature, value)
            parts.append(columns)
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("shape", [["n", 4, 2], [1, 4, 2], ["n", "l", 2], ["n", 8]])
def test_an_input_takes_a_vector_for_each_place_of_a_history(shape: list[Any]) -> None:
    graph = weighted([("viewed_style", shape, "float"), ("price", ["n", 1], "float")], [8, 1])
    found = schema()
    scores = OnnxModel(compile_graph(graph, found), found).score(rows(found))
    exported = [axis if axis != 1 else "n" for axis in shape]  # which the graph itself takes for all rows
    graph = weighted([("viewed_style", exported, "float"), ("price", ["n", 1], "float")], [8, 1])
    style = np.repeat(PADDED.reshape(1, *([8] if len(shape) == 2 else [4, 2])), N, axis=0)
    given = {"viewed_style": style, "price": np.arange(N, dtype=np.float32)[:, np.newaxis]}
    np.testing.assert_allclose(scores, run(graph, given), rtol=1e-6)


def test_an_input_without_an_axis_for_rows_takes_it_once_for_a_list_that_is_scored_together() -> None:
    nodes = [
        helper.make_node("Transpose", ["viewed_style"], ["turned"]),
        helper.make_node("MatMul", ["style", "turned"], ["each"]),  # (n, 4)
        helper.make_node("ReduceMax", ["each"], ["scores"], axes=[1], keepdims=0),
    ]
    inputs = [tensor("viewed_style", [4, 2]), tensor("style", ["n", 2])]
    graph = onnx_bytes(nodes, inputs, [tensor("scores", ["n"])], {})
    with pytest.raises(ModelRejected, match=r"viewed_style \(4, 2\) has no axis for rows.* say `rows: together`"):
        compile_graph(graph, schema())
    found = schema(rows="together")
    scores = OnnxModel(compile_graph(graph, found), found).score(rows(found))
    own = np.repeat(np.arange(N, dtype=np.float32)[:, np.newaxis], 2, axis=1)
    np.testing.assert_allclose(scores, run(graph, {"viewed_style": PADDED, "style": own}), rtol=1e-6)


@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
@pytest.mark.parametrize("padding", ["behind", "front"])
def test_it_is_ordered_and_padded_as_its_history_is(order: str, padding: str) -> None:
    graph = weighted([("viewed", ["n", 4], "int64"), ("viewed_style", ["n", 4, 2], "float")], [4, 8])
    found = schema({"order": order, "padding": padding})
    ids, styles = HISTORY[:: 1 if order == "newest_first" else -1], STYLES[:: 1 if order == "newest_first" else -1]
    empty = [[0.0, 0.0]]
    given = {
        "viewed": np.array([[*ids, 0] if padding == "behind" else [0, *ids]] * N),
        "viewed_style": np.array([[*styles, *empty] if padding == "behind" else [*empty, *styles]] * N, np.float32),
    }
    scores = OnnxModel(compile_graph(graph, found), found).score(rows(found))
    np.testing.assert_allclose(scores, run(graph, given), rtol=1e-6)


def test_whole_numbers_of_it_reach_the_graph_exactly_beside_other_features() -> None:
    graph = weighted([("hist", ["n", 5], "int64")], [5])
    found = schema(inputs={"hist": ["viewed.no", "price"]})
    big = 1 << 40
    scores = OnnxModel(compile_graph(graph, found), found).score(rows(found, [big, big + 1, 3]))
    given = [[big, big + 1, 3, 0, i] for i in range(N)]
    np.testing.assert_array_equal(scores, run(graph, {"hist": np.array(given)}))


def test_numbers_that_a_table_must_have_are_found_for_the_products_feature() -> None:
    nodes = [
        helper.make_node("Gather", ["table", "hist"], ["each"]),
        helper.make_node("ReduceSum", ["each", "one"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "price"], ["scores"]),
    ]
    constants = {"table": np.arange(30, dtype=np.float32), "one": np.array([1])}
    inputs = [tensor("hist", ["n", 4], TensorProto.INT64), tensor("price", ["n"])]
    graph = onnx_bytes(nodes, inputs, [tensor("scores", ["n"])], constants)
    found = schema(inputs={"hist": "viewed.no"})
    bound = OnnxModel(compile_graph(graph, found), found).find_bounds()
    no = next(feature for feature in bound.product.features if feature.name == "no")
    assert (no.min, no.max) == (0, 29)
    (side,) = bound.side_information["viewed"].features
    assert (side.min, side.max) == (0, 29)


def test_whole_inputs_refuse_what_may_be_nan_of_a_product() -> None:
    segment = {"name": "brand", "type": "category", "vocabulary": ["a"], "missing": "nan"}
    data = schema().to_metadata() | {"product": {"features": ["price", segment]}, "inputs": {"hist": "viewed.brand"}}
    graph = weighted([("hist", ["n", 4], "int64"), ("price", ["n"], "float")], [4, 1])
    with pytest.raises(ModelRejected, match=r"Input hist takes int64, which has no NaN, and viewed\.brand says `nan`"):
        compile_graph(graph, FeatureSchema.from_mapping(data))


def test_history_is_not_told_as_unused_where_its_products_are_looked_up() -> None:
    graph = weighted([("viewed_style", ["n", 4, 2], "float"), ("price", ["n", 1], "float")], [8, 1])
    note = read_note(Session(compile_graph(graph, schema())).metadata)
    assert note is not None
    assert set(note.unused) == {"product.style", "product.no"}


DIN = [
    ("viewed_id", ["n", 4], "int64"),
    ("viewed_style", ["n", 4, 2], "float"),
    ("viewed_colour", ["n", 4, 3], "float"),
    ("viewed_brand", ["n", 4], "int64"),
    ("style", ["n", 2], "float"),
    ("price", ["n", 1], "float"),
]


def test_suggestion_asks_which_products_feature_is_looked_up_for_a_history() -> None:
    text = suggest(weighted(DIN, [4, 8, 12, 4, 2, 1]))
    found = yaml.safe_load(text)
    assert found["inputs"] == {"viewed_style": "viewed_id.style", "viewed_colour": "viewed_id.colour"}
    assert {"name": "colour", "shape": [3]} in found["product"]["features"]
    for name in ("viewed_style", "viewed_colour"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"  {name}:")]
        assert "  # ? this feature of `product`, looked up for each id of the history" in line
    (line,) = [line for line in text.splitlines() if "name: viewed_brand" in line]
    assert "say inputs: {viewed_brand: viewed_id.FEATURE}" in line
    assert FeatureSchema.from_mapping(found).side_information["viewed_id"].names == ("style", "colour")
