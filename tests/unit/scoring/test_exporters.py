"""A refusal speaks of the exporter that wrote the graph, and of each of its inputs."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from ranker.errors import ModelRejected
from ranker.scoring.model import OnnxModel
from tests.support.models import onnx_bytes, schema_of_width, tensor

CALLS = {"pytorch": "torch.onnx.export", "tf2onnx": "tf.TensorSpec", "skl2onnx": "FloatTensorType"}
MATRICES = {"pytorch": "forward()", "tf2onnx": "Keras", "OnnxMLTools": "FloatTensorType"}


def two_towers(producer: str, rows: int | str = 1, kind: int = TensorProto.FLOAT) -> bytes:
    node = helper.make_node("Concat", ["user", "item"], ["scores"], axis=1)
    inputs = [tensor(name, [rows, 3], kind) for name in ("user", "item")]
    graph = onnx.load_from_string(onnx_bytes([node], inputs, [tensor("scores", [rows, 6], kind)]))
    graph.producer_name = producer
    return bytes(graph.SerializeToString())


@pytest.mark.parametrize("producer", CALLS)
def test_fixed_rows_are_told_to_the_exporters_own_users(producer: str) -> None:
    with pytest.raises(ModelRejected, match="Input user is fixed to 1 rows") as refused:
        OnnxModel(two_towers(producer), schema_of_width(3, 3))
    assert {name for name, call in CALLS.items() if call in str(refused.value)} == {producer}


def test_two_inputs_of_fixed_rows_get_an_entry_each() -> None:
    with pytest.raises(ModelRejected) as refused:
        OnnxModel(two_towers("pytorch"), schema_of_width(3, 3))
    assert 'dynamic_shapes=({0: n}, {0: n}) with n = torch.export.Dim("n")' in str(refused.value)
    assert 'dynamic_axes={"user": {0: "n"}, "item": {0: "n"}}' in str(refused.value)


@pytest.mark.parametrize("producer", MATRICES)
def test_integers_are_told_to_the_exporters_own_users(producer: str) -> None:
    with pytest.raises(ModelRejected, match=r"Input user takes tensor\(int64\)") as refused:
        OnnxModel(two_towers(producer, "n", TensorProto.INT64), schema_of_width(3, 3))
    assert {name for name, call in MATRICES.items() if call in str(refused.value)} == {producer}


def test_who_is_not_named_is_told_of_all() -> None:
    with pytest.raises(ModelRejected) as refused:
        OnnxModel(two_towers(""), schema_of_width(3, 3))
    assert all(call in str(refused.value) for call in CALLS.values())
