"""Exporter advice: how each of the libraries that write ONNX files is told to write one that can be served.

Owns the calls that refusals name, each for the library that wrote the graph, as the graph itself says; for a graph that
does not say, those of all. Knows nothing of graphs or schemas.
"""

from __future__ import annotations

from collections.abc import Sequence

_TORCH, _SKLEARN, _TENSORFLOW = "pytorch", "skl2onnx", "tf2onnx"
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


def _for(producer: str, ways: dict[str, str]) -> str:
    name = producer.lower()
    if name in _SKLEARN_LIKE:
        name = _SKLEARN
    return ways.get(name) or "; ".join(ways.values())
