"""Three graphs: those of the sides while they are written, and what crosses from the first two to the pair's.

Owns how a value is made whole in one of them. Knows nothing of the operators of a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ranker.importing.splitting.part_graph import PREFIX, PartGraph
from ranker.importing.splitting.values import (
    ROWS,
    Abstract,
    Constant,
    Counted,
    Fact,
    Opaque,
    Part,
    Shape,
    Value,
    broadcast,
    size_of,
)
from ranker.scoring.split.parts import Side

_EXACT = frozenset(map(np.dtype, ("float32", "float16", "bool", "int8", "uint8", "int16", "uint16")))
"""Types whose values float32 holds all."""
_ABOUT_AS_LARGE = (
    "Add Cast Ceil Clip Concat Div Expand Floor Gather Identity Max Min Mul Neg Reshape Round Slice Sub Transpose Where"
)
_SCALING = frozenset(_ABOUT_AS_LARGE.split())
"""Operators whose results are about as large as what they take."""
WIDENS = 24
"""Ratio of the numbers that a layer gives to those it takes of a product, from which it is left to the pair part.

512 numbers for each of 100 products that lie here and there cost more to fetch than to compute from 16 (155 us against
120), less than to compute from 32 (115 against 134).
"""
FIRST = (Side.REQUEST, Side.PRODUCT, Side.PAIR)
"""Sides in the order of what computing there costs: once a request, once a product, once a pair."""


@dataclass(frozen=True)
class Piece:
    """A tensor that crosses to the pair part, and the name that its columns have there."""

    side: Side
    name: str
    width: int
    placeholder: str


class Graphs:
    """The graphs of the sides.

    Args:
        widths: How many columns each side has.
    """

    def __init__(self, widths: dict[Side, int]) -> None:
        self.of = {side: PartGraph(side, width) for side, width in widths.items()}
        self.pair = self.of[Side.PAIR]
        self.pieces: dict[str, Piece] = {}
        """What crosses, by the placeholders."""
        self._brought: dict[tuple[Side, str], str] = {}

    def whole(self, value: Abstract, side: Side, *, exact: bool = True) -> str:
        """Make a value whole in one graph; with `exact`, of its whole shape rather than one that broadcasts to it."""
        graph = self.of[side]
        if isinstance(value, Constant):
            return graph.constant(value.array)
        if isinstance(value, Counted):
            return graph.count(value)
        if isinstance(value, Opaque):
            assert side is Side.PAIR
            return value.name
        if len(value.parts) == 1:
            return self.part(value, value.parts[0], side, exact=exact)
        return graph.join([self.part(value, part, side) for part in value.parts], value.axis)

    def part(self, value: Value, part: Part, side: Side, *, exact: bool = True) -> str:
        """Make one part of a value whole in one graph."""
        graph = self.of[side]
        names = [self.bring(other, part.terms[other], side) for other in FIRST if other in part.terms]
        if not names:
            assert part.constant is not None
            return graph.expand(graph.constant(part.constant), value.shape_of(part))
        total = names[0]
        for name in names[1:]:
            total = graph.node("Add", total, name, shape=broadcast(graph.shape(total), graph.shape(name)))
        return graph.expand(total, value.shape_of(part)) if exact else total

    def bring(self, side: Side, name: str, to: Side) -> str:
        """Return the name in one graph of what another has."""
        if side is to:
            return name
        assert to is Side.PAIR
        if (side, name) not in self._brought:
            self._brought[side, name] = self._bring(self.of[side], name)
        return self._brought[side, name]

    def _bring(self, graph: PartGraph, name: str) -> str:
        if name in graph.constants:
            return self.pair.constant(graph.constants[name])
        if name in graph.counted:
            return self.pair.count(graph.counted[name])
        if not _crosses(graph, name):
            node = graph.producers[name]
            inputs = [self.bring(graph.side, one, Side.PAIR) if one else "" for one in node.input]
            facts = [graph.facts[one] if one else Fact(None, None) for one in node.output]
            there = [bool(one) for one in node.output]
            made = self.pair.write(node.op_type, inputs, facts, list(node.attribute), node.domain, there)
            return made[list(node.output).index(name)]
        flat = graph.flat(name)
        placeholder = f"{PREFIX}{graph.side}/{flat}"
        width = graph.shape(flat)[1]
        self.pieces[placeholder] = Piece(graph.side, flat, width, placeholder)
        self.pair.facts[placeholder] = Fact((ROWS, width), np.dtype(np.float32))
        return self.pair.unflat(placeholder, graph.shape(name), graph.dtype(name))

    def clone(
        self, node: Any, side: Side, inputs: Sequence[str], facts: Sequence[Fact], outputs: Sequence[bool] | None = None
    ) -> list[str]:
        """Write a node of the model into a graph."""
        return self.of[side].write(node.op_type, inputs, facts, list(node.attribute), node.domain, outputs)

    def add(self, side: Side, one: str, other: str) -> str:
        """Add two tensors of a side."""
        graph = self.of[side]
        return graph.node("Add", one, other, shape=broadcast(graph.shape(one), graph.shape(other)))

    def exact(self, side: Side, name: str, shape: Shape) -> str:
        return self.of[side].expand(name, shape)


def _crosses(graph: PartGraph, name: str) -> bool:
    """Whether a tensor crosses itself, rather than what it is made of."""
    dtype = graph.dtype(name)
    if name in graph.raw:
        return True
    if graph.side is Side.PRODUCT and (narrow := _narrow_source(graph, name)):
        return size_of(graph.shape(name)) < WIDENS * narrow
    if dtype in _EXACT:
        return True
    if dtype != np.float64 or holds_features(graph, name):  # doubles of features may need all their digits
        return False
    node = graph.producers[name]
    return not (node.op_type == "Cast" and graph.dtype(node.input[0]) in _EXACT)


def _narrow_source(graph: PartGraph, name: str) -> int:
    """Return how many numbers a layer takes that a tensor is the result of; 0 where it is none."""
    node = graph.producers.get(name)
    if node is None:
        return 0
    varying = [one for one in node.input if one not in graph.constants]
    if len(varying) != 1 or node.input[0] != varying[0]:
        return 0
    if node.op_type == "MatMul":
        return size_of(graph.shape(varying[0]))
    return _narrow_source(graph, varying[0]) if node.op_type in ("Add", "Div", "Mul", "Sub") else 0


def holds_features(graph: PartGraph, name: str) -> bool:
    """Whether a tensor holds columns of the input as they are, or scaled, so that it may be as large as they."""
    if name in graph.raw:
        return True
    node = graph.producers.get(name)
    if node is None or node.op_type not in _SCALING:
        return False
    taken = node.input[:1] if node.op_type in ("Gather", "Slice") else node.input
    varying = [one for one in taken if one in graph.raw or one in graph.producers]
    return any(holds_features(graph, one) for one in varying)
