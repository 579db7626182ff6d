"""Exporter advice: how each of the libraries that write ONNX files is told to write one that can be served.

Owns the calls that refusals name, each for the library that wrote the graph, as the graph itself says; for a graph that
does not say, those of all. Knows nothing of graphs or schemas.
"""

from __future__ import annotations

from collections.abc import Sequence

_TORCH, _SKLEARN, _TENSORFLOW, _CATBOOST = "pytorch", "skl2onnx", "tf2onnx", "catboost"
_SKLEARN_LIKE = (_SKLEARN, "onnxmltools", "onnxml")


def dynamic_rows(producer: str, inputs: Sequence[str]) -> str:
    """Say how to export with a dynamic first axis of all inputs."""
    n = 'torch.export.Dim("n")'
    if len(inputs) == 1:
        shapes = f"dynamic_shapes=({{0: {n}}},)"
    else:
        shapes = f"dynamic_shapes=({', '.join(['{0: n}'] * len(inputs))}) with n = {n}"
    axes = ", ".join(f'"{name}": {{0: "n"}}' for name in inputs)
    ways = {
        _TORCH: f"in PyTorch torch.onnx.export(..., {shapes}), or dynamic_axes={{{axes}}} with dynamo=False",
        _TENSORFLOW: "in tf2onnx input_signature=[tf.TensorSpec((None, F), tf.float32)], an entry for each input",
        _SKLEARN: 'in skl2onnx and onnxmltools initial_types=[("features", FloatTensorType([None, F]))]',
    }
    return f"Export it with a dynamic first axis: {_for(producer, ways)}"


def one_matrix(producer: str) -> str:
    """Say how to export with one input that holds all columns."""
    ways = {
        _TORCH: "in PyTorch let forward() take one tensor (n, F) of float32 and cut the columns out of it "
        "(x[:, 0].long() for ids)",
        _TENSORFLOW: "in Keras let the model begin with one Input(shape=(F,)) of float32 and cut the columns out of it "
        "(tf.cast for integers)",
        _SKLEARN: "train on an array of numbers (strings first through an OrdinalEncoder, then "
        'X.to_numpy(dtype=np.float32)) and convert with initial_types=[("features", FloatTensorType([None, F]))]',
    }
    return f"Export it with one input that holds all columns: {_for(producer, ways)}"


def without_zipmap(producer: str) -> str:
    """Say how to export class probabilities as a tensor."""
    ways = {
        _SKLEARN: 'skl2onnx with options={id(model): {"zipmap": False}}, onnxmltools with zipmap=False',
        _CATBOOST: (
            "CatBoost has no option for it, so cut the node off the file: m = onnx.load(FILE); z = next(n for n in "
            'm.graph.node if n.op_type == "ZipMap"); m.graph.node.remove(z); del m.graph.output[:]; '
            "m.graph.output.append(onnx.helper.make_tensor_value_info(z.input[0], 1, [None, 2])); onnx.save(m, FILE)"
        ),
    }
    return f"Export it as a plain tensor: {_for(producer, ways)}"


def float32_kept(producer: str) -> str:
    """Say how a graph that computes with float16 gets float32 inputs and outputs."""
    ways = {_TORCH: "in PyTorch model.half() with x.half() at the start of forward() and scores.float() at its end"}
    half = "onnxconverter_common.float16.convert_float_to_float16(model, keep_io_types=True)"
    return f"Keep its inputs and outputs float32: {_for(producer, ways)}, or {half}"


def _for(producer: str, ways: dict[str, str]) -> str:
    name = producer.lower()
    if name in _SKLEARN_LIKE:
        name = _SKLEARN
    return ways.get(name) or "; ".join(ways.values())
