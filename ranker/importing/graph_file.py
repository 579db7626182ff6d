"""Graph file: an ONNX file as the package onnx has it, to be changed.

Owns the package, which is loaded here when a graph must be changed and not before. Knows nothing of schemas.
"""

from __future__ import annotations

from typing import Any

from ranker.errors import ImportPackageMissing, ModelRejected

OLDEST_OPSET = 7
"""Before, operators did not broadcast as they do now."""


def onnx_package() -> Any:
    """Return the package onnx.

    Raises:
        ImportPackageMissing: it is not installed.
    """
    try:
        import onnx
    except ImportError as err:
        raise ImportPackageMissing(str(err)) from err
    return onnx


def read_graph(content: bytes) -> Any:
    """Read a graph, with its initializers taken off the list of its inputs.

    Raises:
        ImportPackageMissing: the package onnx is not installed.
        ModelRejected: the graph is older than what can be built on.
    """
    model = onnx_package().load_model_from_string(content)
    if opset_of(model) < OLDEST_OPSET:
        raise ModelRejected(
            f"The graph has opset {opset_of(model)}, and nothing can be built on one before {OLDEST_OPSET}. Export it "
            "with opset_version=17 (target_opset in skl2onnx and onnxmltools)."
        )
    initializers = {tensor.name for tensor in model.graph.initializer}
    for node in [node for node in model.graph.input if node.name in initializers]:
        model.graph.input.remove(node)
    model.ir_version = max(model.ir_version, 4)  # before, each initializer was an input, too
    return model


def opset_of(model: Any) -> int:
    """Return the version of the standard operators that a graph is written in."""
    return next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
