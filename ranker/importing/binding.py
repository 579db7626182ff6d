"""Binding: which features fill which input of a graph, and how their columns become its kind and shape.

Owns what an input and what fills it must be to each other. Knows nothing of nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ranker.errors import ModelRejected
from ranker.importing.layout import Layout, Located
from ranker.importing.shapes import Shape, fit, listwise_axes
from ranker.importing.sources import Aspect, Source, ask, by_name, only_input, read_inputs
from ranker.scoring.graph.inputs import quoted
from ranker.scoring.session import Declared
from ranker.vectors.schema import FeatureSchema

WHOLE = ("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64")
NUMBERS = ("float", "double", "float16", *WHOLE, "bool")
"""Kinds of tensors that numbers can fill, beside `string`, which categories fill."""
CODES = {"bool": 2, "int8": 1 << 7, "uint8": 1 << 8, "int16": 1 << 15, "uint16": 1 << 16, "float16": (1 << 11) + 1}
"""Number of codes, from 0, that a kind tells apart, where it is fewer than a vocabulary may have."""


@dataclass(frozen=True, slots=True)
class Binding:
    """An input of the graph and what fills it.

    Attributes:
        node: The input.
        features: Those whose columns it takes, side by side.
        aspect: What it takes of them; `mask` and `length` are of one sequence.
        shape: How its columns are laid out.
        because: Whence that is known.
    """

    node: Declared
    features: tuple[Located, ...]
    aspect: Aspect
    shape: Shape
    because: str

    @property
    def kind(self) -> str:
        """The type of an element, such as `int64`."""
        return element_kind(self.node)

    @property
    def takes(self) -> tuple[str, ...]:
        of = "" if self.aspect == "value" else f"{self.aspect} of "
        return tuple(f"{of}{located.name}" for located in self.features)


def element_kind(node: Declared) -> str:
    """Return the type of an input's elements, such as `int64`."""
    return node.type.removeprefix("tensor(").removesuffix(")")


def bind(declared: Sequence[Declared], schema: FeatureSchema) -> tuple[Binding, ...]:
    """Find what fills each input of a graph.

    Raises:
        ModelRejected: an input takes what no feature gives, or it is not plain what it takes.
    """
    layout = Layout(schema)
    sources = read_inputs(declared, schema, layout) or {}
    if len(declared) == 1 and not sources:
        sources = {declared[0].name: only_input(declared[0], schema, layout)}
    elif schema.columns is not None:
        raise ModelRejected(
            f"The schema has `columns:`, which are those of one input, and the graph has {len(declared)}. Say "
            "`inputs:` in place of it."
        )
    for node in declared:
        if node.name not in sources and (found := by_name(node, declared, layout)):
            sources[node.name] = found
    if open_ones := [node for node in declared if node.name not in sources]:
        raise ModelRejected(ask(open_ones, declared, sources, layout))
    for node in declared:
        _check_kind(node, sources[node.name])
    together = schema.rows == "together"
    lists = listwise_axes(declared, {name: source.width for name, source in sources.items()}) if together else None
    return tuple(
        Binding(node, source.features, source.aspect, _fit(node, source, lists, together), source.because)
        for node, source in ((node, sources[node.name]) for node in declared)
    )


def _check_kind(node: Declared, source: Source) -> None:
    kind = element_kind(node)
    for located in source.features:
        feature = located.feature
        if source.aspect == "value" and feature.type == "text":
            raise ModelRejected(
                f"Input {node.name} takes {located.name}, whose type is text: give it `type: category` with the "
                "vocabulary that the model knows."
            )
        if kind == "string" and (feature.type != "category" or source.aspect != "value"):
            raise ModelRejected(
                f"Input {node.name} takes strings, and {located.name} is {feature.type}: give it `type: category` with "
                "the texts that the model knows, such as {name: "
                f"{feature.name}, type: category, vocabulary: [a, b]}}. `ranker model suggest` finds them in the graph."
            )
        texts = len(feature.vocabulary or ())
        if source.aspect == "value" and texts > CODES.get(kind, texts):
            raise ModelRejected(
                f"Input {node.name} takes {kind}, which tells {CODES[kind]:,} codes apart, and the vocabulary of "
                f"{located.name} has {texts:,} texts: some would be taken for others. Export it with int64 inputs."
            )
        if kind in (*WHOLE, "bool") and "nan" in (feature.missing, feature.unknown) and source.aspect == "value":
            raise ModelRejected(
                f"Input {node.name} takes {kind}, which has no NaN, and {located.name} says `nan`: give it a "
                "`default` (of a category, a code for `unknown`) in place of it."
            )
    if kind not in (*NUMBERS, "string"):
        raise ModelRejected(
            f"Input {node.name} takes {node.type}; features can give {', '.join(NUMBERS)}, string. Export it with "
            "inputs of these, such as float."
        )


def _fit(node: Declared, source: Source, lists: tuple[str, ...] | None, together: bool) -> Shape:
    shape = fit(node, source.width, source.parts, lists, _other_width(node, source))
    if shape.rows == "bare" and not together:
        axes = ", ".join(map(str, shape.row))
        raise ModelRejected(
            f"Input {node.name} ({axes}) has no axis for rows. Export it with a first axis for them: (1, {axes}). Or "
            "say `rows: together` in the schema: each request is then a call of its own."
        )
    if shape.rows == "one" and not together:
        return replace(shape, rows="each", freed=True)
    if shape.rows in ("one", "bare") and not source.of_request:
        given = next(located.name for located in source.features if not located.is_request_side)
        raise ModelRejected(
            f"Input {node.name} is one row for a whole list, and {given} is another for each product. Export it with a "
            "dynamic first axis."
        )
    return shape


def _other_width(node: Declared, source: Source) -> str:
    """Say how the schema gives an input as many values as it takes."""
    axes = [axis for axis in node.shape[1:] if isinstance(axis, int)]
    if len(source.features) > 1 or len(axes) < len(node.shape[1:]):
        return "List in the schema exactly the features the model was trained on, in their order."
    (located,) = source.features
    length, shape = (axes[:1], axes[1:]) if located.feature.is_sequence else ([], axes)
    if located.history is not None:
        shaped = f" and {located.feature.name} of `product` `shape: {shape}`" if shape else ""
        return f"Give the history {located.history} `length: {axes[0] if axes else '…'}`{shaped}, as it was trained."
    if located.feature.type == "product" and shape:
        ids, to_say = located.feature.name, f"`inputs: {{{quoted(node.name)}: {located.feature.name}.FEATURE}}`"
        return f"{ids} holds ids. Say which feature of `product` the input takes of each: {to_say}."
    says = [*(f"length: {axis}" for axis in length), *([f"shape: {shape}"] if shape else [])]
    given = f"Give it {{name: {quoted(located.feature.name)}, {', '.join(says)}}}, or all" if says else "Give it"
    return f"{given} the features that it was trained on: `inputs: {{{quoted(node.name)}: [FEATURE, …]}}`."
