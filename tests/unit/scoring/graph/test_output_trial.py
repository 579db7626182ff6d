"""The trial of a graph's outputs: whence their classes are known, and what is said of a graph that does not run."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper

from ranker.errors import ModelRejected
from ranker.importing.compile import compile_graph
from ranker.scoring.model import OnnxModel
from tests.support.models import onnx_bytes, schema_of_width, tensor
from tests.unit.scoring.test_model import FEATURES, SCHEMA, WIDTH, rows, saying

CLASSES = ["click", "no_click"]


def network(*more: NodeProto) -> list[NodeProto]:
    """Nodes that give the probabilities of two classes, without naming them."""
    return [
        helper.make_node("MatMul", ["features", "w"], ["raw"]),
        helper.make_node("Softmax", ["raw"], ["probabilities"], axis=1),
        *more,
    ]


def test_a_classifier_names_its_classes_where_its_labels_are_no_output() -> None:
    weights: dict[str, Any] = {"coefficients": rows(2, width=WIDTH).reshape(-1).tolist(), "intercepts": [0.0, 0.0]}
    node = helper.make_node(
        "LinearClassifier",
        ["features"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        classlabels_strings=CLASSES,
        post_transform="SOFTMAX",
        **weights,
    )
    content = onnx_bytes([node], [FEATURES], [tensor("scores", ["n", 2])])
    with pytest.raises(ModelRejected, match="The two columns of scores are the classes click and no_click"):
        OnnxModel(content, SCHEMA)
    assert OnnxModel(content, saying(SCHEMA, output="scores[click]")).output.classes == tuple(CLASSES)


def test_classes_of_a_dictionary_that_the_import_has_taken_apart_are_still_known() -> None:
    dictionary = helper.make_node(
        "ZipMap", ["probabilities"], ["scores"], domain="ai.onnx.ml", classlabels_strings=CLASSES
    )
    kind = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    output = helper.make_value_info("scores", helper.make_sequence_type_proto(kind))
    content = onnx_bytes(network(dictionary), [FEATURES], [output], {"w": rows(WIDTH, width=2)})
    with pytest.raises(ModelRejected, match="The two columns of scores are the classes click and no_click"):
        compile_graph(content, SCHEMA)
    chosen = saying(SCHEMA, output="scores[click]")
    assert OnnxModel(compile_graph(content, chosen), chosen).output.classes == tuple(CLASSES)


def test_a_classifier_that_scores_only_few_rows_together_is_refused() -> None:
    nodes = [
        helper.make_node("Shape", ["features"], ["rows"], start=0, end=1),
        helper.make_node("Squeeze", ["rows"], ["n"]),
        helper.make_node("Range", ["zero", "n", "one"], ["places"]),
        helper.make_node("Gather", ["of_places", "places"], ["nothing"]),
        helper.make_node("MatMul", ["features", "w"], ["weighted"]),
        helper.make_node("Add", ["weighted", "nothing"], ["raw"]),
        helper.make_node("Softmax", ["raw"], ["scores"], axis=1),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    constants = {
        "zero": np.array(0),
        "one": np.array(1),
        "of_places": np.zeros((50, 1), np.float32),
        "w": rows(WIDTH, width=2),
    }
    outputs = [tensor("label", ["n"], TensorProto.INT64), tensor("scores", ["n", 2])]
    with pytest.raises(
        ModelRejected, match=r"one by one, it cannot score together\. The model could not score 64 rows"
    ):
        OnnxModel(onnx_bytes(nodes, [FEATURES], outputs, constants), SCHEMA)


def test_a_graph_that_scores_no_row_is_refused_with_a_look_at_the_columns() -> None:
    node = helper.make_node("MatMul", ["features", "w"], ["scores"])
    weights = {"w": rows(WIDTH + 1, width=1)}
    content = onnx_bytes([node], [tensor("features", ["n", "f"])], [tensor("scores", ["n", 1])], weights)
    with pytest.raises(ModelRejected, match=r"\. Check that the schema lists the columns it was trained on\.$"):
        OnnxModel(content, SCHEMA)


@pytest.mark.parametrize(
    ("times", "advice"),
    [
        (1, ", such as {name: u0, default: 1000} or {name: p0, default: 1000}."),
        (0, "."),  # the graph looks the same id up whatever the features are
    ],
)
def test_defaults_that_a_table_holds_are_proposed_where_there_are_any(times: int, advice: str) -> None:
    nodes = [
        helper.make_node("ReduceSum", ["features", "axes"], ["sums"], keepdims=0),
        helper.make_node("Mul", ["sums", "times"], ["numbers"]),
        helper.make_node("Cast", ["numbers"], ["ids"], to=TensorProto.INT64),
        helper.make_node("Sub", ["ids", "first"], ["rows"]),
        helper.make_node("Gather", ["table", "rows"], ["scores"]),
    ]
    table = np.random.default_rng(0).random(50, dtype=np.float32)
    constants = {"axes": np.array([1]), "times": np.float32(times), "first": np.array([1000]), "table": table}
    content = onnx_bytes(nodes, [tensor("features", ["n", 2])], [tensor("scores", ["n"])], constants)
    said = "Give that feature a default that the table holds" + advice
    with pytest.raises(ModelRejected, match=f"{re.escape(said)}$"):
        OnnxModel(content, schema_of_width(1, 1))
