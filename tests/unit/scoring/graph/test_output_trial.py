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


def labelled(output: str, labels: str, *nodes: NodeProto, columns: int) -> bytes:
    """A graph that gives labels, whole numbers, and then its scores; `w` has as many columns as they."""
    outputs = [tensor(labels, ["n"], TensorProto.INT64), tensor(output, ["n", columns])]
    constants = {"w": rows(WIDTH, width=columns), "zero": np.zeros(1, np.float32), "axes": np.array([1])}
    return onnx_bytes(nodes, [FEATURES], outputs, constants)


@pytest.mark.parametrize(("arg", "classes"), [("ArgMax", ("0", "1")), ("ArgMin", ("1", "0"))])
def test_labels_show_which_column_of_a_graph_without_names_is_whose(arg: str, classes: tuple[str, ...]) -> None:
    label = helper.make_node(arg, ["probabilities"], ["label"], axis=1, keepdims=0)
    content = labelled("probabilities", "label", *network(label), columns=2)
    if classes == ("1", "0"):
        with pytest.raises(ModelRejected, match="The two columns of probabilities are the classes 1 and 0, and"):
            OnnxModel(content, SCHEMA)
    chosen = saying(SCHEMA, output="probabilities[1]")
    output = OnnxModel(content, chosen).output
    assert (output.classes, output.column) == (classes, classes.index("1"))


@pytest.mark.parametrize("compare", ["Greater", "Less"])
def test_labels_show_which_class_one_score_is_high_for(compare: str) -> None:
    nodes = [
        helper.make_node("MatMul", ["features", "w"], ["s"]),
        helper.make_node("Squeeze", ["s", "axes"], ["flat"]),
        helper.make_node(compare, ["flat", "zero"], ["is_one"]),
        helper.make_node("Cast", ["is_one"], ["label"], to=TensorProto.INT64),
    ]
    content = labelled("s", "label", *nodes, columns=1)
    if compare == "Less":
        with pytest.raises(ModelRejected, match="s is high for rows of class 0 and low for those of 1, and"):
            OnnxModel(content, SCHEMA)
    else:
        assert OnnxModel(content, SCHEMA).output.name == "s"


def test_one_score_behind_a_classifier_is_not_one_of_its_classes() -> None:
    weights: dict[str, Any] = {"coefficients": rows(2, width=WIDTH).reshape(-1).tolist(), "intercepts": [0.0, 0.0]}
    classifier = helper.make_node(
        "LinearClassifier", ["features"], ["label", "both"], domain="ai.onnx.ml", classlabels_strings=CLASSES, **weights
    )
    column = helper.make_node("Gather", ["both", "first"], ["s"], axis=1)
    content = onnx_bytes([classifier, column], [FEATURES], [tensor("s", ["n"])], {"first": np.array(0)})
    assert OnnxModel(content, SCHEMA).output.name == "s"


def test_outputs_that_the_schema_does_not_name_are_no_score() -> None:
    nodes = [helper.make_node("MatMul", ["features", f"w_{name}"], [name]) for name in ("a", "b")]
    weights = {f"w_{name}": rows(WIDTH, width=1) for name in ("a", "b")}
    content = onnx_bytes(nodes, [FEATURES], [tensor(name, ["n", 1]) for name in ("a", "b")], weights)
    assert OnnxModel(content, saying(SCHEMA, output="b")).output.name == "b"


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
