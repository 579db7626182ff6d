"""What an ONNX graph declares, matched with the schema: which columns feed which input, which outputs may be the score.

Owns the rules for declared inputs and outputs, and the sentences that say how to export a graph that keeps them. Knows
nothing of running a graph: `model` does, since converters declare output shapes too loosely to be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from ranker.encoding import Matrix
from ranker.errors import ModelRejected
from ranker.schema import FeatureSchema

_DTYPES: dict[str, np.dtype[Any]] = {"tensor(float)": np.dtype(np.float32), "tensor(double)": np.dtype(np.float64)}

DYNAMIC_BATCH = (
    "Export it with a dynamic first axis: in PyTorch "
    'torch.onnx.export(..., dynamic_shapes=({0: torch.export.Dim("n")},)), or dynamic_axes={"features": {0: "n"}} with '
    'dynamo=False; in skl2onnx and onnxmltools initial_types=[("features", FloatTensorType([None, F]))]'
)
_ONE_MATRIX = (
    "Export it with one input that holds all columns: train on an array (X.to_numpy(dtype=np.float32)) and convert "
    'with initial_types=[("features", FloatTensorType([None, F]))]'
)
_NO_ZIPMAP = (
    'Export it as a plain tensor: skl2onnx with options={id(model): {"zipmap": False}}, onnxmltools with zipmap=False'
)


class Declared(Protocol):
    """An input or output as ONNX Runtime describes it; a dynamic axis is None or a name, an unknown shape is empty."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def shape(self) -> Sequence[int | str | None]: ...


@dataclass(frozen=True, slots=True)
class ModelInput:
    """An input of the graph, and the columns of the matrix that it takes.

    Attributes:
        name: Its name in the graph.
        dtype: float32 or float64.
        columns: A slice with both ends set.
    """

    name: str
    dtype: np.dtype[Any]
    columns: slice

    @property
    def width(self) -> int:
        return int(self.columns.stop - self.columns.start)

    def take(self, matrix: Matrix) -> npt.NDArray[Any]:
        """Return what the graph gets of a matrix (n, F), shape (n, width); a view where the dtype allows it."""
        return matrix[:, self.columns].astype(self.dtype, copy=False)


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """The output of the graph that holds the scores; of class probabilities (n, 2), column 1 is the score."""

    name: str
    dtype: np.dtype[Any]
    shape: Literal["(n,)", "(n, 1)", "(n, 2)"]


def match_inputs(declared: Sequence[Declared], schema: FeatureSchema) -> tuple[ModelInput, ...]:
    """Match the graph's inputs with the columns of a matrix (n, F).

    Raises:
        ModelRejected: naming what does not fit and how to export a graph that does.
    """
    widths = {name: group.width for name, group in schema.groups.items()}
    if len(declared) not in (1, len(widths)):
        raise ModelRejected(
            f"The graph has {len(declared)} inputs ({_names(declared)}); a ranking model has one (n, {schema.width}), "
            f"or one for each group: {_groups(widths)}. {_ONE_MATRIX}."
        )
    for node in declared:
        _check_tensor(node)
    if len(declared) == 1:
        return (_input(declared[0], 0, schema.width),)
    nodes = _by_group(declared, widths) if len(declared) > 2 else _user_and_product(declared[0], declared[1], schema)
    stops = accumulate(widths.values())
    return tuple(
        _input(node, stop - width, stop) for node, width, stop in zip(nodes, widths.values(), stops, strict=True)
    )


def score_candidates(declared: Sequence[Declared]) -> tuple[str, ...]:
    """Return the names of the outputs that may hold scores: the float ones; of several, the one named for probability.

    Raises:
        ModelRejected: when there is none, saying how to export one.
    """
    floats = [node.name for node in declared if node.type in _DTYPES]
    if floats:
        named = [name for name in floats if "prob" in name.lower()]
        return tuple(named if len(named) == 1 else floats)
    if any(node.type.startswith("seq(map") for node in declared):
        raise ModelRejected(f"The output is a list of dictionaries (ZipMap), slow to build and to read. {_NO_ZIPMAP}.")
    kinds = ", ".join(f"{node.name}: {node.type}" for node in declared)
    raise ModelRejected(
        f"The graph gives no score ({kinds}); class labels do not rank. Export the probabilities "
        "too (a classifier with predict_proba), or train a regressor or a ranker."
    )


def _check_tensor(node: Declared) -> None:
    if node.type == "tensor(string)":
        raise ModelRejected(
            f"Input {node.name} takes strings; rows are numbers. Encode categories before. {_ONE_MATRIX}."
        )
    if node.type not in _DTYPES:
        raise ModelRejected(f"Input {node.name} takes {node.type}. Export it with float32 (or float64) inputs.")
    if node.shape and len(node.shape) != 2:
        raise ModelRejected(
            f"Input {node.name} has {len(node.shape)} axes {_shape(node)}; a ranking model takes rows (n, F). "
            "Export it with 2-D inputs, reshaping inside the graph if it must."
        )
    if node.shape and isinstance(node.shape[0], int):
        raise ModelRejected(
            f"Input {node.name} is fixed to {node.shape[0]} rows {_shape(node)}; requests bring any number. "
            f"{DYNAMIC_BATCH}."
        )


def _input(node: Declared, start: int, stop: int) -> ModelInput:
    if not _fits(node, stop - start):
        raise ModelRejected(
            f"Input {node.name} takes {node.shape[1]} columns; the schema names {stop - start} features. "
            "List in the schema exactly the columns the model was trained on, in their order."
        )
    return ModelInput(node.name, _DTYPES[node.type], slice(start, stop))


def _user_and_product(a: Declared, b: Declared, schema: FeatureSchema) -> tuple[Declared, Declared]:
    """Tell the two inputs apart: by width, where that leaves a choice by name, and without a telling name by order."""
    widths = (schema.user.width, schema.product.width)
    straight, crossed = (_fits(x, widths[0]) and _fits(y, widths[1]) for x, y in ((a, b), (b, a)))
    if straight and crossed:
        straight, crossed = _names_say(a, b), _names_say(b, a)
        if straight and crossed:
            raise ModelRejected(
                f"Inputs {a.name} and {b.name} could both be the user's. Name one with 'user' and the other with "
                "'product' (input_names in torch.onnx.export, initial_types in skl2onnx and onnxmltools)."
            )
        return (b, a) if crossed else (a, b)
    if not straight and not crossed:
        raise ModelRejected(
            f"Inputs {a.name} {_shape(a)} and {b.name} {_shape(b)} do not have the schema's widths: user {widths[0]}, "
            f"product {widths[1]}. List in the schema exactly the columns the model was trained on. If each input is "
            f"one column: {_ONE_MATRIX[0].lower()}{_ONE_MATRIX[1:]}."
        )
    return (a, b) if straight else (b, a)


def _by_group(declared: Sequence[Declared], widths: Mapping[str, int]) -> list[Declared]:
    """Tell more than two inputs apart by their names alone; return them in the order of the groups."""
    named = {_group(node): node for node in declared}
    if named.keys() != widths.keys():
        raise ModelRejected(
            f"The inputs {_names(declared)} cannot be told apart. Name each after its group: {_groups(widths)} "
            "(input_names in torch.onnx.export, initial_types in skl2onnx and onnxmltools)."
        )
    return [named[group] for group in widths]


def _group(node: Declared) -> str:
    """Return the group that an input's name speaks of; empty when it speaks of none."""
    name = node.name.lower()
    product = "product" in name or "item" in name
    if "context" in name:
        return "productContext" if product else "context"
    return "product" if product else "user" if "user" in name else ""


def _groups(widths: Mapping[str, int]) -> str:
    return ", ".join(f"{name} (n, {width})" for name, width in widths.items())


def _names_say(user: Declared, product: Declared) -> bool:
    return "user" in user.name.lower() or any(word in product.name.lower() for word in ("product", "item"))


def _fits(node: Declared, width: int) -> bool:
    declared = node.shape[1] if node.shape else None
    return not isinstance(declared, int) or declared == width


def _shape(node: Declared) -> str:
    return (
        "("
        + ", ".join(str(axis) if isinstance(axis, int) else "n" if i == 0 else "?" for i, axis in enumerate(node.shape))
        + ")"
    )


def _names(nodes: Sequence[Declared]) -> str:
    return ", ".join(node.name for node in nodes[:5]) + (", …" if len(nodes) > 5 else "")
