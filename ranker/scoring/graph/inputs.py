"""Inputs of an ONNX graph, matched with the schema: which columns feed which.

Owns the rules for declared inputs. Where names and widths leave a choice, none is made: the refusal names the line of
the schema that makes it. Knows nothing of running a graph.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.errors import ModelRejected
from ranker.scoring.session import Declared
from ranker.vectors.input_source import InputSource
from ranker.vectors.rows import Matrix
from ranker.vectors.schema import FeatureSchema

DTYPES: dict[str, np.dtype[Any]] = {"tensor(float)": np.dtype(np.float32), "tensor(double)": np.dtype(np.float64)}
_GROUP_WORDS = {
    ("user",): "user",
    ("product",): "product",
    ("item",): "product",
    ("context",): "context",
    ("product", "context"): "productContext",
    ("item", "context"): "productContext",
}
_FILLING = frozenset(
    (
        "data",
        "emb",
        "embedding",
        "embeddings",
        "feature",
        "features",
        "input",
        "request",
        "tensor",
        "vec",
        "vector",
        "x",
    )
)
"""Words of an input's name that say nothing of whose columns it takes."""


@dataclass(frozen=True, slots=True)
class ModelInput:
    """An input of the graph, and the columns of the matrix that it takes.

    Attributes:
        name: Its name in the graph.
        dtype: float32 or float64.
        columns: A slice with both ends set.
        group: The schema's group whose columns these are; None for the one input that takes all.
    """

    name: str
    dtype: np.dtype[Any]
    columns: slice
    group: str | None = None

    @property
    def width(self) -> int:
        return int(self.columns.stop - self.columns.start)

    def take(self, matrix: Matrix) -> npt.NDArray[Any]:
        """Return what the graph gets of a matrix (n, F), shape (n, width); a view where the dtype allows it."""
        return matrix[:, self.columns].astype(self.dtype, copy=False)

    def __str__(self) -> str:
        return f"{self.name} (n, {self.width}) {self.dtype}" + (f" = {self.group}" if self.group else "")


def match_inputs(declared: Sequence[Declared], schema: FeatureSchema) -> tuple[ModelInput, ...]:
    """Match the graph's inputs with the columns of a matrix (n, F).

    Args:
        declared: The graph's inputs.
        schema: What the columns are, and with `inputs:` which of them an input takes.

    Raises:
        ModelRejected: naming what does not fit, or the line that says what it is.
    """
    names = [node.name for node in declared]
    for node in declared:
        _check_tensor(node)
    widths = {name: group.width for name, group in schema.groups.items()}
    if len(declared) not in (1, len(widths)):
        raise ModelRejected(
            f"The graph has {len(declared)} inputs ({listed(names)}), and rows are one (n, {schema.width}), or one for "
            f"each group: {_groups(widths)}. Import it with `ranker model import`, which makes one of the other."
        )
    if len(declared) == 1:
        if schema.inputs is not None:
            raise ModelRejected(
                f"The graph has one input, {names[0]}, for the columns of all groups in order. Leave `inputs:` out of "
                "the schema."
            )
        return one_matrix(declared[0], schema)
    if schema.inputs is not None:
        nodes = _order_by_schema(declared, schema.inputs, widths)
    else:
        nodes = _order_by_names_or_widths(declared, schema, widths)
    stops = accumulate(widths.values())
    return tuple(
        _input(node, stop - width, stop, group)
        for node, (group, width), stop in zip(nodes, widths.items(), stops, strict=True)
    )


def one_matrix(node: Declared, schema: FeatureSchema) -> tuple[ModelInput, ...]:
    """Match the one input of a graph with all columns in order.

    Raises:
        ModelRejected: it takes another number of columns.
    """
    return (_input(node, 0, schema.width),)


def asks_for_nodes(schema: FeatureSchema) -> bool:
    """Whether the schema says of a graph what nodes before or behind it must do."""
    groups = list(schema.groups)
    features = [feature for group in schema.groups.values() for feature in group.features]
    return (
        schema.columns is not None
        or schema.score is not None
        or schema.rows == "together"
        or any(source not in groups for source in (schema.inputs or {}).values())
        or any(feature.type == "text" or feature.size != feature.width for feature in features)
    )


def quoted(name: str) -> str:
    """Return a name as YAML takes it for a text."""
    plain = re.fullmatch(r"[A-Za-z_][\w.-]*", name) and name.lower() not in ("true", "false", "yes", "no", "on", "off")
    return name if plain and name.lower() not in ("null", "y", "n") else json.dumps(name)


def _check_tensor(node: Declared) -> None:
    if node.type in DTYPES and (not node.shape or (len(node.shape) == 2 and not isinstance(node.shape[0], int))):
        return
    raise ModelRejected(
        f"Input {node.name} takes {node.type} {_shape(node)}, and rows are (n, F) of float32 or float64. Import the "
        "graph with `ranker model import`, which makes one of the other."
    )


def _input(node: Declared, start: int, stop: int, group: str | None = None) -> ModelInput:
    if not _fits(node, stop - start):
        of = f" for {group}" if group else ""
        raise ModelRejected(
            f"Input {node.name} takes {node.shape[1]} columns; the schema names {stop - start} features{of}. "
            "List in the schema exactly the columns the model was trained on, in their order."
        )
    return ModelInput(node.name, DTYPES[node.type], slice(start, stop), group)


def _order_by_schema(
    declared: Sequence[Declared], inputs: Mapping[str, InputSource], widths: Mapping[str, int]
) -> list[Declared]:
    """Return the inputs in the order of the groups, as the schema's `inputs:` has them."""
    named = {node.name: node for node in declared}
    if inputs.keys() != named.keys() or sorted(map(str, inputs.values())) != sorted(widths):
        raise ModelRejected(
            f"The schema's `inputs:` does not give each of the graph's inputs ({listed(list(named))}) a group of its "
            f"own ({', '.join(widths)}). Write {_line(list(named), list(widths))}, each with the group that it takes."
        )
    of_group = {str(group): named[name] for name, group in inputs.items()}
    return [of_group[group] for group in widths]


def _order_by_names_or_widths(
    declared: Sequence[Declared], schema: FeatureSchema, widths: Mapping[str, int]
) -> list[Declared]:
    """Return the inputs in the order of the groups: by names where all say one, or by widths that fit one way alone."""
    meanings = {node.name: _meaning(node.name, schema) for node in declared}
    fitting = [nodes for nodes in permutations(declared) if all(map(_fits, nodes, widths.values()))]
    if not fitting:
        raise ModelRejected(
            f"Inputs {', '.join(f'{node.name} {_shape(node)}' for node in declared)} do not have the schema's widths: "
            f"{', '.join(f'{group} {width}' for group, width in widths.items())}. List in the schema exactly the "
            "columns the model was trained on."
        )
    named = [nodes for nodes in fitting if [meanings[node.name] for node in nodes] == list(widths)]
    if named:
        return list(named[0])
    agreeing = [
        nodes
        for nodes in fitting
        if all(meanings[node.name] in (None, group) for node, group in zip(nodes, widths, strict=True))
    ]
    if len(fitting) == len(agreeing) == 1:
        return list(fitting[0])
    line = _line([node.name for node in (agreeing or fitting)[0]], list(widths))
    raise ModelRejected(
        f"The inputs {listed(list(meanings))} cannot be told apart: neither their names nor their widths say whose "
        f"columns each takes. Say it in the schema: {line}, or with the groups exchanged, as the model was trained."
    )


def _meaning(name: str, schema: FeatureSchema) -> str | None:
    """Return the group of an input's name, or whose only feature has it; None when it says none, or several."""
    meant = [group for group, features in schema.groups.items() if name == group or features.names == (name,)]
    if meant:
        return meant[0] if len(meant) == 1 else None
    features = {plain_name(feature) for group in schema.groups.values() for feature in group.names}
    return "one feature" if plain_name(name) in features else named_group(name)  # which is no group's name


def plain_name(name: str) -> str:
    """Return a name without what exporters change in it: case, signs, and TensorFlow's `:0`."""
    return re.sub(r"[^a-z0-9]+", "_", name.removesuffix(":0").lower())


def named_group(name: str) -> str | None:
    """Return the group that the whole name of an input says, such as `user_features`; None when it says none."""
    words = re.findall(r"[a-z]+|[0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower())
    return _GROUP_WORDS.get(tuple(word for word in words if word not in _FILLING))


def _line(names: Sequence[str], groups: Sequence[str]) -> str:
    pairs = ", ".join(f"{quoted(name)}: {group}" for name, group in zip(names, groups, strict=True))
    return f"`inputs: {{{pairs}}}`"


def _groups(widths: Mapping[str, int]) -> str:
    return ", ".join(f"{name} (n, {width})" for name, width in widths.items())


def _fits(node: Declared, width: int) -> bool:
    declared = node.shape[1] if node.shape else None
    return not isinstance(declared, int) or declared == width


def _shape(node: Declared) -> str:
    axes = (str(axis) if isinstance(axis, int) else "n" if i == 0 else "?" for i, axis in enumerate(node.shape))
    return f"({', '.join(axes)})"


def listed(names: Sequence[str]) -> str:
    """Return the first few names."""
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
