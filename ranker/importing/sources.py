"""Source of an input: the features that fill it, as the schema's `inputs:` says, or its name.

Owns the rules for names. Nothing is guessed: the refusal names the line that says it. Knows nothing of nodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ranker.errors import ModelRejected
from ranker.importing.layout import Layout, Located
from ranker.scoring.graph.inputs import listed, named_group, plain_name, quoted
from ranker.scoring.session import Declared
from ranker.vectors.input_source import LengthSource, MaskSource
from ranker.vectors.keyed_group import RESERVED
from ranker.vectors.schema import FeatureSchema

Aspect = Literal["value", "mask", "length"]


@dataclass(frozen=True, slots=True)
class Source:
    """Source of an input: what fills it.

    Attributes:
        features: Those whose columns it takes, side by side.
        because: Whence that is known.
        aspect: What it takes of them; `mask` and `length` are of one sequence.
    """

    features: tuple[Located, ...]
    because: str
    aspect: Aspect = "value"

    @property
    def width(self) -> int:
        """Elements that a row of the input gets."""
        if self.aspect == "value":
            return sum(located.feature.size for located in self.features)
        return 1 if self.aspect == "length" else self.features[0].feature.length or 1

    @property
    def parts(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each value that is in a row, a sequence's with its length; () for numbers."""
        if self.aspect == "length":
            return ((),)
        lengths = [() if one.feature.length is None else (one.feature.length,) for one in self.features]
        if self.aspect == "mask":
            return tuple(lengths)
        return tuple((*length, *one.feature.shape) for length, one in zip(lengths, self.features, strict=True))

    @property
    def of_request(self) -> bool:
        return all(located.is_request_side for located in self.features)


def read_inputs(declared: Sequence[Declared], schema: FeatureSchema, layout: Layout) -> dict[str, Source] | None:
    """Read the schema's `inputs:`."""
    if schema.inputs is None:
        return None
    names = [node.name for node in declared]
    if unknown := [name for name in schema.inputs if name not in names]:
        raise ModelRejected(
            f"The schema's `inputs:` names {listed(unknown)}; the graph has the inputs {listed(names)}."
        )
    if schema.columns is not None:
        raise ModelRejected("The schema has `columns:` and `inputs:`. Leave `columns:` out: `inputs:` gives the order.")
    sources: dict[str, Source] = {}
    for name, said in schema.inputs.items():
        where, because = f"The schema's `inputs:` of {name}", "the schema"
        if isinstance(said, MaskSource | LengthSource):
            aspect: Aspect = "mask" if isinstance(said, MaskSource) else "length"
            of = said.mask if isinstance(said, MaskSource) else said.length
            (found,) = features if len(features := layout.resolve(of, where)) == 1 else (None,)
            if found is None or not found.feature.is_sequence:
                raise ModelRejected(f"{where} asks for the {aspect} of {of}, which is no sequence (`length:`).")
            sources[name] = Source((found,), because, aspect)
        else:
            parts = [said] if isinstance(said, str) else said
            sources[name] = Source(tuple(layout.resolve_all(parts, where)), because)
    return sources


def only_input(node: Declared, schema: FeatureSchema, layout: Layout) -> Source:
    """Return what a graph's only input takes: `columns:`, or all features, or that of its name if no more fit in."""
    if schema.columns is not None:
        return Source(tuple(layout.resolve_all(schema.columns, "The schema's `columns:`")), "the schema's columns")
    fillable = tuple(located for located in layout.features if located.feature.type != "text")
    everything = Source(fillable, "it is the only input")
    named = by_name(node, [node], layout)
    if named is not None and not _holds(node, everything.width) and _holds(node, named.width):
        return named
    return everything


def by_name(node: Declared, declared: Sequence[Declared], layout: Layout) -> Source | None:
    """Return the feature or group of an input's name; None where the name says none, or not plainly."""
    name = node.name.removesuffix(":0")
    found = layout.find(name)
    if name in layout.groups and name not in RESERVED:  # whose names are read below, with other words for them
        named = [Source(tuple(parts), "its name") for parts in (layout.groups[name], *([one] for one in found))]
        fitting = [source for source in named if _holds(node, source.width)] if found else named
        return fitting[0] if len(fitting) == 1 else None
    if len(found) == 1:
        return Source((found[0],), "its name")
    for aspect in ("mask", "length"):
        of = name.removesuffix(f"_{aspect}")
        if of != name and len(found := layout.find(of)) == 1 and found[0].feature.is_sequence:
            return Source((found[0],), "its name", aspect)
    alike = [located for located in layout.features if plain_name(located.feature.name) == plain_name(name)]
    if len(alike) == 1 and sum(plain_name(other.name) == plain_name(name) for other in declared) == 1:
        return Source((alike[0],), "its name")
    group = named_group(name)
    if group in layout.groups and sum(named_group(other.name) == group for other in declared) == 1:
        source = Source(tuple(layout.groups[group]), "its name")
        return source if _holds(node, source.width) else None
    return None


def _holds(node: Declared, width: int) -> bool:
    """Whether a row of an input may have so many elements."""
    known = [axis for axis in node.shape[1:] if isinstance(axis, int)]
    return len(known) < len(node.shape[1:]) or math.prod(known) == width


def ask(open_ones: Sequence[Declared], declared: Sequence[Declared], known: dict[str, Source], layout: Layout) -> str:
    """Ask for the line of the schema that says what these inputs take, with what may fill them."""
    taken = {located.name for source in known.values() for located in source.features}
    free = [located for located in layout.features if located.name not in taken and located.feature.type != "text"]
    groups = {name: _elements(group) for name, group in layout.groups.items() if all(one in free for one in group)}
    features = {located.feature.name: located.feature.size for located in free}
    looked_up = {
        f"{history.feature.name}.{of.feature.name}": history.feature.size * of.feature.size
        for history in layout.features
        for of in layout.groups["product"]
        if history.feature.type == "product" and of.feature.type != "text"
    }
    pairs = []
    for node in open_ones:
        fitting = [*_fitting(node, groups), *_fitting(node, features), *_fitting(node, looked_up)]
        value = fitting[0] if fitting else "[FEATURE, …]"
        groups.pop(value, None)
        features.pop(value, None)
        pairs.append(f"{quoted(node.name)}: {value}")
    names = listed([node.name for node in open_ones])
    what = f"What the input{'s' * (len(open_ones) > 1)} {names} of {len(declared)} should get cannot be told"
    if not free:
        return (
            f"{what}: every feature of the schema fills another. Add to the schema what the model was trained on "
            f"besides, such as a feature of the name {open_ones[0].name}."
        )
    free_names = listed([located.name for located in free])
    return (
        f"{what}: no feature or group of the schema has such a name, or several have. Say it in the schema, such as "
        f"`inputs: {{{', '.join(pairs)}}}`, with a feature, a list of features or a group each, as the model was "
        f"trained (not taken yet: {free_names})."
    )


def _fitting(node: Declared, sizes: dict[str, int]) -> list[str]:
    """Return which of these have as many elements as a row of an input."""
    return [name for name, size in sizes.items() if _holds(node, size)]


def _elements(features: Sequence[Located]) -> int:
    return sum(located.feature.size for located in features)
