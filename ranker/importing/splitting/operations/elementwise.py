"""Elementwise operations: part by part, where the parts of what is taken lie side by side; sums stay sums.

Owns which of them are linear. Knows nothing of axes but the one that the parts lie along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ranker.importing.splitting.graphs import FIRST, Graphs, holds_features
from ranker.importing.splitting.operations.axis_rules import aligned
from ranker.importing.splitting.values import (
    ROWS,
    Abstract,
    Array,
    Constant,
    Fact,
    Part,
    Shape,
    Unsplittable,
    Value,
    broadcast,
    last_axis,
)
from ranker.scoring.split.parts import Side


@dataclass(frozen=True)
class _Piece:
    """Piece that one input brings to one part of the result; `part` is None for a constant."""

    value: Value | None
    part: Part | None
    constant: Array | None = None

    @property
    def terms(self) -> dict[Side, str]:
        return dict(self.part.terms) if self.part is not None else {}


def apply(graphs: Graphs, node: Any, inputs: Sequence[Abstract | None], fact: Fact) -> tuple[Value, bool]:
    """Return what an elementwise operation gives, and whether some of it is done in the pair part.

    Raises:
        Unsplittable: the parts of its inputs do not lie side by side.
    """
    shape, dtype = fact.known
    axis, widths = _common_parts(inputs, shape)
    parts, paired = [], False
    start = 0
    for i, width in enumerate(widths):
        pieces = [_piece(value, len(shape), axis, i, start, start + width, len(widths)) for value in inputs]
        part_shape = (*shape[:axis], width, *shape[axis + 1 :])
        part, moved = _Part(graphs, node, part_shape, dtype).make(pieces)
        parts.append(Part(width, part.terms, part.constant))
        paired |= not moved
        start += width
    return Value(shape, dtype, axis, tuple(parts)), paired


def _common_parts(inputs: Sequence[Abstract | None], shape: Shape) -> tuple[int, list[int]]:
    found: tuple[int, list[int]] | None = None
    for value in inputs:
        if isinstance(value, Value):
            if not aligned(value, shape) or len(value.shape) != len(shape):
                raise Unsplittable("rows of its inputs do not lie on the same axis")
            if len(value.parts) > 1:
                divided = (value.axis + len(shape) - len(value.shape), [part.width for part in value.parts])
                if found not in (None, divided):
                    raise Unsplittable("its inputs are put together of other parts")
                found = divided
        elif not isinstance(value, Constant | None):
            raise Unsplittable("it takes what only the pair part has")
    if found is None:
        axis = last_axis(shape)
        return axis, [shape[axis]]
    if sum(found[1]) != shape[found[0]]:
        raise Unsplittable("it repeats what is put together of parts")
    return found


def _piece(value: Abstract | None, rank: int, axis: int, i: int, start: int, stop: int, count: int) -> _Piece | None:
    if value is None:
        return None
    if isinstance(value, Constant):
        array = value.array
        own = axis - rank + array.ndim
        if count > 1 and own >= 0 and array.shape[own] != 1:
            array = np.take(array, range(start, stop), axis=own)
        return _Piece(None, None, array)
    assert isinstance(value, Value)
    if len(value.parts) == count:
        return _Piece(value, value.parts[i], value.parts[i].constant)
    own = axis - rank + len(value.shape)
    if own >= 0 and value.shape[own] != 1:
        raise Unsplittable("one of its inputs is put together of parts, another is not")
    return _Piece(value, value.parts[0], value.parts[0].constant)


class _Part:
    """One part of a result."""

    def __init__(self, graphs: Graphs, node: Any, shape: Shape, dtype: np.dtype[Any]) -> None:
        self._graphs = graphs
        self._node = node
        self._shape = shape
        self._dtype = dtype

    def make(self, pieces: Sequence[_Piece | None]) -> tuple[Part, bool]:
        given = [piece for piece in pieces if piece is not None]
        sides = {side for piece in given for side in piece.terms}
        if not sides:
            name = self._clone(pieces, Side.REQUEST)
            return Part(0, {Side.REQUEST: name}), True
        sums = any(len(piece.terms) > 1 for piece in given)
        if len(sides) == 1 and not sums:
            (side,) = sides
            return Part(0, {side: self._clone(pieces, side)}), side is not Side.PAIR
        if self._dtype.kind == "f" and (linear := self._linear(given)) is not None:
            return Part(0, linear), True
        return Part(0, {Side.PAIR: self._clone(pieces, Side.PAIR)}), False

    def _linear(self, given: list[_Piece]) -> dict[Side, str] | None:
        operator = self._node.op_type
        if operator in ("Identity", "Cast"):
            kind = self._graphs.of[next(iter(given[0].terms))].dtype(next(iter(given[0].terms.values()))).kind
            return self._by_term(given, 0) if kind == "f" else None
        if operator == "Neg":
            return self._by_term(given, 0)
        if operator in ("Mul", "Div") and len(given) == 2:
            (varying,) = [i for i in (0, 1) if given[i].terms] if any(not p.terms for p in given) else [None]
            if varying is None or (operator == "Div" and varying == 1):
                return None
            return self._by_term(given, varying)
        if operator in ("Add", "Sub", "Sum") and len(given) >= 2:
            if self._joins_features(given):
                return None
            total = self._terms(given[0])
            for piece in given[1:]:
                total = self._merge(total, self._terms(piece), "Sub" if operator == "Sub" else "Add")
            return self._with_constant(total)
        return None

    def _joins_features(self, given: list[_Piece]) -> bool:
        """Whether it adds or subtracts features of several sides, which may be large and their difference small.

        Such as the time now and a product's: weighed before they are subtracted, rounding would be what is left of it.
        """
        graphs = self._graphs.of
        return len({side for p in given for side, name in p.terms.items() if holds_features(graphs[side], name)}) > 1

    def _by_term(self, given: list[_Piece], varying: int) -> dict[Side, str]:
        """Do the operation with each term, the other input being a constant."""
        made = {}
        for side, name in given[varying].terms.items():
            names = [name if i == varying else self._constant(piece, side) for i, piece in enumerate(given)]
            made[side] = self._write(names, side)
        return made

    def _terms(self, piece: _Piece) -> dict[Any, Any]:
        return {**piece.terms} if piece.terms else {None: piece.constant}

    def _merge(self, total: dict[Any, Any], other: dict[Any, Any], operator: str) -> dict[Any, Any]:
        result = dict(total)
        for side, term in other.items():
            if side is None:
                result[None] = (
                    (term if operator == "Add" else -term)
                    if None not in result
                    else result[None] + term
                    if operator == "Add"
                    else result[None] - term
                )
                continue
            graph = self._graphs.of[side]
            if side in result:
                shape = broadcast(graph.shape(result[side]), graph.shape(term))
                result[side] = graph.node(operator, result[side], term, shape=shape)
            else:
                result[side] = term if operator == "Add" else graph.node("Neg", term, shape=graph.shape(term))
        return result

    def _with_constant(self, total: dict[Any, Any]) -> dict[Side, str]:
        constant = total.pop(None, None)
        if constant is not None:
            side = next(side for side in FIRST if side in total)
            graph = self._graphs.of[side]
            name = graph.constant(np.asarray(constant))
            total[side] = graph.node(
                "Add", total[side], name, shape=broadcast(graph.shape(total[side]), constant.shape)
            )
        return total

    def _constant(self, piece: _Piece, side: Side) -> str:
        assert piece.constant is not None
        return self._graphs.of[side].constant(piece.constant)

    def _clone(self, pieces: Sequence[_Piece | None], side: Side) -> str:
        names = []
        for piece in pieces:
            if piece is None:
                names.append("")
            elif piece.value is None or piece.part is None:
                names.append(self._constant(piece, side))
            else:
                names.append(self._graphs.part(piece.value, piece.part, side, exact=not piece.terms))
        return self._write(names, side)

    def _write(self, names: list[str], side: Side) -> str:
        graph = self._graphs.of[side]
        shape = broadcast(*(graph.shape(name) for name in names if name))
        assert shape.count(ROWS) == 1
        return self._graphs.clone(self._node, side, names, [Fact(shape, self._dtype)])[0]
