"""Graph file: an ONNX file as the package onnx has it, to be changed.

Owns the package, which is loaded here when a graph must be changed and not before. Knows nothing of schemas.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ranker.errors import ImportPackageMissing, ModelRejected
from ranker.scoring.graph.onnx_file import read_nodes
from ranker.scoring.session import Session

OLDEST_OPSET = 7
"""First opset whose operators broadcast as they do now."""
OWN_OPSET = 13
"""Opset of what is built on a graph that has no standard operators, such as CatBoost's."""


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
    if not opset_of(model):
        model.opset_import.add(domain="", version=OWN_OPSET)
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


def load(content: bytes, folder: Path | None = None) -> tuple[Session, bytes]:
    """Load a graph as it was exported, and return what was loaded.

    That is the same bytes, where ONNX Runtime takes them. Its ZipMap is one of float32, and skl2onnx puts it behind the
    double probabilities of a model that was trained on a data frame all the same: these are narrowed before it.

    Raises:
        ModelRejected: it does not load.
        ImportPackageMissing: it would have to be changed, and the package onnx is not installed.
    """
    try:
        return Session(content, folder=folder), content
    except ModelRejected:
        if not any(node.operator == "ZipMap" for node in read_nodes(content)):
            raise
    narrowed = _narrow_zipmaps(content)
    return Session(narrowed, folder=folder), narrowed


def _narrow_zipmaps(content: bytes) -> bytes:
    onnx = onnx_package()
    model = onnx.load_model_from_string(content)
    nodes = []
    for node in model.graph.node:
        if node.op_type == "ZipMap":
            single = f"{node.input[0]}/float32"
            nodes.append(onnx.helper.make_node("Cast", [node.input[0]], [single], to=onnx.TensorProto.FLOAT))
            node.input[0] = single
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for output in model.graph.output:
        if output.type.HasField("sequence_type"):
            output.type.sequence_type.elem_type.map_type.value_type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return bytes(model.SerializeToString())


def to_opset(model: Any, version: int) -> Any:
    """Write a graph in a newer version of the standard operators; those of other domains stay as they are.

    Raises:
        ModelRejected: it cannot be.
    """
    from onnx import version_converter

    try:
        return version_converter.convert_version(model, version)
    except Exception as err:  # what it raises has no base of its own
        raise ModelRejected(
            f"The schema's `score:` needs a graph of opset {version}, and this one of {opset_of(model)} cannot be "
            f"brought there: {str(err).partition(chr(10))[0][:200]}. Export it with opset_version=17."
        ) from err


def opset_of(model: Any) -> int:
    """Return the version of the standard operators that a graph is written in."""
    return next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
