"""ONNX graphs for tests, built by hand: small, seeded, independent of real exporters; and a store for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from ranker.scoring.loaded import LoadedModel
from ranker.scoring.model import OnnxModel
from ranker.scoring.split.note import Note
from ranker.vectors.schema import FeatureSchema

OPSET = 17
IR_VERSION = 10


def schema_of_width(
    user: int, product: int, *, user_default: float = 0.0, product_default: float = 0.0
) -> FeatureSchema:
    """A schema with features u0, u1, … and p0, p1, …"""
    return FeatureSchema.from_mapping(
        {
            "user": {"features": [{"name": f"u{i}", "default": user_default} for i in range(user)]},
            "product": {"features": [{"name": f"p{i}", "default": product_default} for i in range(product)]},
        }
    )


def tensor(name: str, shape: Sequence[int | str | None], elem_type: int = TensorProto.FLOAT) -> ValueInfoProto:
    """Declare an input or output."""
    return helper.make_tensor_value_info(name, elem_type, list(shape))


def onnx_bytes(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    constants: dict[str, np.ndarray] | None = None,
) -> bytes:
    """Serialise a graph of these nodes; `constants` become its initializers."""
    initializers = [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    graph: GraphProto = helper.make_graph(list(nodes), "model", list(inputs), list(outputs), initializers)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


def loaded_model(content: bytes, schema: FeatureSchema) -> LoadedModel:
    """A graph as a store has it that keeps it whole, opened."""
    return LoadedModel(schema, lambda: OnnxModel(content, schema), None, Note(whole_because="it is one of a test"))


def mlp_weights(width: int, hidden: int = 32, seed: int = 0) -> dict[str, np.ndarray]:
    """The weights of `mlp_onnx`: w1 (width, hidden), b1 (hidden,), w2 (hidden, 1), b2 (1,), float32."""
    rng = np.random.default_rng(seed)
    shapes = {"w1": (width, hidden), "b1": (hidden,), "w2": (hidden, 1), "b2": (1,)}
    scale = {"w1": width**-0.5, "w2": hidden**-0.5}
    return {k: (rng.standard_normal(s) * scale.get(k, 0.1)).astype(np.float32) for k, s in shapes.items()}


def mlp_onnx(width: int, hidden: int = 32, seed: int = 0) -> bytes:
    """An MLP with one ReLU layer: `features` (n, width) float32 → `scores` (n, 1) float32."""
    nodes = [
        helper.make_node("Gemm", ["features", "w1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("Gemm", ["a", "w2", "b2"], ["scores"]),
    ]
    weights = mlp_weights(width, hidden, seed)
    return onnx_bytes(nodes, [tensor("features", ["n", width])], [tensor("scores", ["n", 1])], weights)


def mlp_scores(matrix: np.ndarray, hidden: int = 32, seed: int = 0) -> np.ndarray:
    """What `mlp_onnx` gives for a matrix (n, width), computed with numpy in float64, shape (n,)."""
    w = mlp_weights(matrix.shape[1], hidden, seed)
    activation = np.maximum(matrix.astype(np.float64) @ w["w1"] + w["b1"], 0)
    return (activation @ w["w2"] + w["b2"]).reshape(-1)


def endless(width: int, beyond: float = -np.inf) -> bytes:
    """A graph whose loop goes on until it is told to stop, for rows with a value larger than `beyond`."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("before", "after")]
    counter = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    goes_on, still = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("goes_on", "still"))
    steps = [helper.make_node("Identity", ["goes_on"], ["still"]), helper.make_node("Neg", ["before"], ["after"])]
    body = helper.make_graph(steps, "body", [counter, goes_on, value[0]], [still, value[1]])
    nodes = [
        helper.make_node("ReduceSum", ["features", "axes"], ["sum"], keepdims=1),
        helper.make_node("ReduceMax", ["features"], ["largest"], keepdims=0),
        helper.make_node("Greater", ["largest", "beyond"], ["begins"]),
        helper.make_node("Loop", ["", "begins", "sum"], ["scores"], body=body),
    ]
    constants = {"axes": np.array([1]), "beyond": np.array(beyond, np.float32)}
    return onnx_bytes(nodes, [tensor("features", ["n", width])], [tensor("scores", ["n", 1])], constants)


@contextmanager
def temporary_model_store(path: Path) -> Iterator[None]:
    """Let bentoml in this process use an empty model store; setting BENTOML_HOME works only before its first use."""
    BentoMLContainer.model_store_dir.set(str(path))
    BentoMLContainer.model_store.set(ModelStore(path))
    try:
        yield
    finally:
        BentoMLContainer.model_store_dir.reset()
        BentoMLContainer.model_store.reset()
