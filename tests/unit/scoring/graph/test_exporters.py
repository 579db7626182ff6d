"""A refusal speaks of the exporter that wrote the graph, and of each of its inputs as the exporter knows them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from ranker.errors import ModelRejected
from ranker.importing.compile import compile_graph
from ranker.scoring.graph.exporters import dynamic_rows
from tests.support.models import onnx_bytes, schema_of_width, tensor

CALLS = {"pytorch": "torch.onnx.export", "tf2onnx": "tf.TensorSpec", "skl2onnx": "FloatTensorType"}


def two_towers(producer: str) -> bytes:
    """A graph whose batch of one row is built in."""
    nodes = [
        helper.make_node("Concat", ["user", "item"], ["both"], axis=1),
        helper.make_node("Reshape", ["both", "one_row"], ["scores"]),
    ]
    inputs = [tensor(name, [1, 3]) for name in ("user", "item")]
    constants = {"one_row": np.array([1, 6])}
    graph = onnx.load_from_string(onnx_bytes(nodes, inputs, [tensor("scores", [1, 6])], constants))
    graph.producer_name = producer
    return bytes(graph.SerializeToString())


@pytest.mark.parametrize("producer", CALLS)
def test_fixed_rows_are_told_to_the_exporters_own_users(producer: str) -> None:
    with pytest.raises(ModelRejected, match="cannot score 2 rows of defaults") as refused:
        compile_graph(two_towers(producer), schema_of_width(3, 3))
    assert {name for name, call in CALLS.items() if call in str(refused.value)} == {producer}


def test_two_inputs_of_fixed_rows_get_an_entry_each() -> None:
    with pytest.raises(ModelRejected) as refused:
        compile_graph(two_towers("pytorch"), schema_of_width(3, 3))
    assert 'dynamic_shapes=({0: n}, {0: n}) with n = torch.export.Dim("n")' in str(refused.value)
    assert 'dynamic_axes={"user": {0: "n"}, "item": {0: "n"}}' in str(refused.value)


def test_who_is_not_named_is_told_of_all() -> None:
    with pytest.raises(ModelRejected) as refused:
        compile_graph(two_towers(""), schema_of_width(3, 3))
    assert all(call in str(refused.value) for call in CALLS.values())


def test_calls_are_said_to_the_letter() -> None:
    torch = (
        'in PyTorch torch.onnx.export(..., dynamic_shapes=({0: torch.export.Dim("n")},)), or '
        'dynamic_axes={"x": {0: "n"}} with dynamo=False'
    )
    tensorflow = "in tf2onnx input_signature=[tf.TensorSpec((None, F), tf.float32)], an entry for each input"
    sklearn = 'in skl2onnx and onnxmltools initial_types=[("features", FloatTensorType([None, F]))]'
    ways = {"PyTorch": torch, "tf2onnx": tensorflow, "OnnxMLTools": sklearn, "": f"{torch}; {tensorflow}; {sklearn}"}
    for producer, way in ways.items():
        assert dynamic_rows(producer, ["x"]) == f"Export it with a dynamic first axis: {way}"
