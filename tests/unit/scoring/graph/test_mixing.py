"""A refusal of rows that mix names the operator that mixes them, and both ways out; `rows: together` is taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, helper

from ranker.errors import ModelRejected
from ranker.importing.compile import compile_graph
from ranker.scoring.graph import proof
from ranker.scoring.graph.mixing import why_rows_mix
from ranker.scoring.graph.onnx_file import Node, small_integers
from ranker.scoring.model import OnnxModel
from tests.support.models import mlp_onnx, onnx_bytes, schema_of_width, tensor

SCHEMA = schema_of_width(2, 2)
TOGETHER = SCHEMA.model_copy(update={"rows": "together"})
CONSTANTS: dict[str, Any] = {
    "axis0": np.array([0]),
    "axis1": np.array([1]),
    "zero": np.array(0),
    "one": np.ones(4, np.float32),
    "none": np.zeros(4, np.float32),
    "w": np.array([[3], [1], [4], [1]], np.uint8),
    "ws": np.array(0.1, np.float32),
    "wz": np.array(0, np.uint8),
}


def ending(nodes: list[NodeProto]) -> bytes:
    """A graph of nodes that make `x` (n, 4) of the features, and the sum of its columns."""
    nodes = [*nodes, helper.make_node("ReduceSum", ["x", "axis1"], ["scores"], keepdims=0)]
    return onnx_bytes(nodes, [tensor("features", ["n", 4])], [tensor("scores", ["n"])], CONSTANTS)


MIXING = {
    "ReduceMean works over axis 0": [
        helper.make_node("ReduceMean", ["features"], ["mean"], axes=[0]),
        helper.make_node("Sub", ["features", "mean"], ["x"]),
    ],
    "ReduceMax works over axis 0": [
        helper.make_node("ReduceMax", ["features"], ["largest"]),
        helper.make_node("Div", ["features", "largest"], ["x"]),
    ],
    "ReduceSum works over axis 0": [
        helper.make_node("ReduceSum", ["features", "axis0"], ["sum"]),
        helper.make_node("Sub", ["features", "sum"], ["x"]),
    ],
    "Softmax works over axis 0": [helper.make_node("Softmax", ["features"], ["x"], axis=0)],
    "CumSum works over axis 0": [helper.make_node("CumSum", ["features", "axis0"], ["x"])],
    "BatchNormalization in training": [
        helper.make_node(
            "BatchNormalization", ["features", "one", "none", "none", "one"], ["x", "m", "v"], training_mode=1
        )
    ],
    "quantised dynamically": [
        helper.make_node("DynamicQuantizeLinear", ["features"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["x"]),
    ],
}


@pytest.mark.parametrize("cause", list(MIXING))
def test_the_operator_that_mixes_rows_is_named_with_both_ways_out(cause: str) -> None:
    content = ending(MIXING[cause])
    with pytest.raises(ModelRejected, match=rf"{cause}.*\. Or say `rows: together` in the schema"):
        OnnxModel(content, SCHEMA).refuse_batch_effects()
    made = compile_graph(content, TOGETHER)
    model = OnnxModel(made, TOGETHER)
    model.refuse_batch_effects()
    assert model.score(np.ones((3, 4), np.float32)).shape == (3,)


def test_operators_over_other_axes_are_not_blamed() -> None:
    nodes = [
        helper.make_node("Softmax", ["features"], ["soft"], axis=1),
        helper.make_node("ReduceMean", ["features"], ["mean"], axes=[0]),
        helper.make_node("Sub", ["soft", "mean"], ["x"]),
    ]
    with pytest.raises(ModelRejected, match=r"rankings\. ReduceMean works over axis 0, the rows\. Export"):
        OnnxModel(ending(nodes), SCHEMA)


@pytest.mark.parametrize(
    "innocent",
    [
        helper.make_node("Softmax", ["features"], ["soft"]),  # its axis is the last
        helper.make_node("Concat", ["features"], ["soft"], axis=0),
        helper.make_node("BatchNormalization", ["features", "one", "none", "none", "one"], ["soft"]),
    ],
)
def test_operators_that_mix_no_rows_are_not_blamed_with_one_that_does(innocent: NodeProto) -> None:
    nodes = [
        innocent,
        helper.make_node("ReduceMean", ["features"], ["mean"], axes=[0]),
        helper.make_node("Sub", ["soft", "mean"], ["x"]),
    ]
    with pytest.raises(ModelRejected, match=r"rankings\. ReduceMean works over axis 0, the rows\. Export"):
        OnnxModel(ending(nodes), SCHEMA)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([Node("DynamicQuantizeMatMul", ("x", "w"), ("y",), ())], "It is quantised dynamically"),
        ([Node("BatchNormalization", ("x", "one"), ("y", "mean"), ())], "It normalises by the statistics of the batch"),
        (
            [Node("Softmax", ("x",), ("y",), (), (0,)), Node("ReduceMax", ("y",), ("z",), ())],
            "Softmax and ReduceMax works over axis 0, the rows. Export it for inference",
        ),
        ([Node("Gemm", ("x", "w"), ("y",), ())], "Export it for inference"),
        ([Node("TopK", ("x", "none"), ("y", "places"), ())], "Export it for inference"),  # how many, and no axis
    ],
)
def test_what_a_graph_holds_says_the_cause_or_none(nodes: list[Node], said: str) -> None:
    assert why_rows_mix(nodes, {"none": (0,)}).startswith(said)


@pytest.mark.parametrize(
    ("cause", "matters"), [("ReduceMean works over axis 0", False), ("CumSum works over axis 0", True)]
)
def test_whether_the_order_of_a_list_matters_is_known(cause: str, matters: bool) -> None:
    model = OnnxModel(compile_graph(ending(MIXING[cause]), TOGETHER), TOGETHER)
    assert proof.depends_on_order(model.score, TOGETHER) is matters


def test_small_constants_are_read_and_weights_are_not() -> None:
    found = small_integers(ending([helper.make_node("Identity", ["features"], ["x"])]))
    assert found == {"axis0": (0,), "axis1": (1,), "zero": (0,)}
    assert small_integers(mlp_onnx(4)) == small_integers(b"no graph") == {}
