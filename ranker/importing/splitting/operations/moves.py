"""Moves: operations that put elements elsewhere and change none: of parts, which stay what they are.

Owns Concat, Reshape and its kin, Transpose, Expand, and Gather from tables. Knows nothing of arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ranker.importing.splitting.graphs import Graphs
from ranker.importing.splitting.operations.axis_rules import aligned
from ranker.importing.splitting.operations.row_wise import keeps_rows
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
    last_axis,
)
from ranker.scoring.split.parts import Side


def concat(graphs: Graphs, inputs: Sequence[Abstract | None], fact: Fact, attributes: Mapping[str, Any]) -> Value:
    """Put parts beside one another; neighbours of one side become one."""
    shape, dtype = fact.known
    axis = int(attributes["axis"]) % len(shape)
    parts: list[Part] = []
    for value in inputs:
        if not isinstance(value, Value) or value.rows != shape.index(ROWS) or axis == value.rows:
            raise Unsplittable("it puts rows, or what only the pair part has, beside one another")
        found = _along(graphs, value, axis).parts
        for part in found:
            if not (parts and _joins(graphs, shape, axis, parts, part)):
                parts.append(part)
    return Value(shape, dtype, axis, tuple(parts))


def reshape(graphs: Graphs, value: Value, shape: Shape) -> Value:
    """Give a value other axes, row by row; parts stay where they end at an element of a new axis."""
    if shape == value.shape:
        return value
    if not keeps_rows(value.shape, shape):
        raise Unsplittable("it moves elements from row to row")
    if len(value.parts) == 1:
        axis = last_axis(shape)
        (part,) = value.parts
        return Value(shape, value.dtype, axis, (_reshaped(graphs, value, part, shape, shape[axis]),))
    before = _row_product(value.shape[: value.axis])
    inner = _row_product(value.shape[value.axis + 1 :])
    for axis, length in enumerate(shape):
        block = _row_product(shape[axis + 1 :])
        if length == ROWS or _row_product(shape[:axis]) != before or block <= 0:
            continue
        if all(part.width * inner % block == 0 for part in value.parts):
            parts = []
            for part in value.parts:
                width = part.width * inner // block
                parts.append(_reshaped(graphs, value, part, (*shape[:axis], width, *shape[axis + 1 :]), width))
            return Value(shape, value.dtype, axis, tuple(parts))
    raise Unsplittable("it mingles what the sides give")


def transpose(graphs: Graphs, value: Value, order: Sequence[int]) -> Value:
    """Exchange axes."""
    parts = []
    for part in value.parts:
        _check_rank(graphs, value, part)
        terms = {side: graphs.of[side].transpose(name, order) for side, name in part.terms.items()}
        constant = None if part.constant is None else _padded(part.constant, len(value.shape)).transpose(order)
        parts.append(Part(part.width, terms, constant))
    shape = tuple(value.shape[i] for i in order)
    return Value(shape, value.dtype, list(order).index(value.axis), tuple(parts))


def expand(graphs: Graphs, value: Value, shape: Shape) -> Value:
    """Repeat a value along axes that it has one place on: nothing is done but to remember the shape."""
    if len(shape) != len(value.shape) or not aligned(value, shape):
        raise Unsplittable("it adds axes before that of the rows")
    if shape[value.axis] != value.shape[value.axis]:
        if len(value.parts) > 1:
            raise Unsplittable("it repeats what is put together of parts")
        (part,) = value.parts
        axis = last_axis(shape)
        return Value(shape, value.dtype, axis, (Part(shape[axis], part.terms, part.constant),))
    return Value(shape, value.dtype, value.axis, value.parts)


def look_up(graphs: Graphs, node: Any, table: Constant, value: Value, fact: Fact) -> Value:
    """Take rows of a table by the numbers in a value, part by part."""
    shape, dtype = fact.known
    if any(len(part.terms) != 1 for part in value.parts):
        raise Unsplittable("its numbers are sums of what both sides give")
    rest = table.array.shape[1:]
    parts = []
    for part in value.parts:
        ((side, name),) = part.terms.items()
        graph = graphs.of[side]
        made = graphs.clone(node, side, [graph.constant(table.array), name], [Fact((*graph.shape(name), *rest), dtype)])
        parts.append(Part(part.width, {side: made[0]}))
    if len(parts) > 1:
        return Value(shape, dtype, value.axis, tuple(parts))
    axis = last_axis(shape)
    return Value(shape, dtype, axis, (Part(shape[axis], parts[0].terms),))


def tiled(inputs: Sequence[Abstract | None]) -> bool:
    """Whether a Tile repeats along axes alone that its input has one place on."""
    value, repeats = inputs
    return (
        isinstance(value, Value)
        and isinstance(repeats, Constant)
        and all(r == 1 or n == 1 for r, n in zip(repeats.array.tolist(), value.shape, strict=True))
    )


def _along(graphs: Graphs, value: Value, axis: int) -> Value:
    """Return a value as parts along another axis: as one, of the side that all are of, or of the pair."""
    if axis == value.axis:
        return value
    width = value.shape[axis]
    if len(value.parts) == 1:
        (part,) = value.parts
        return Value(value.shape, value.dtype, axis, (Part(width, part.terms, part.constant),))
    sides = value.sides
    side = next(iter(sides)) if len(sides) == 1 else Side.PAIR
    return Value(value.shape, value.dtype, axis, (Part(width, {side: graphs.whole(value, side)}),))


def _joins(graphs: Graphs, shape: Shape, axis: int, parts: list[Part], part: Part) -> bool:
    """Join a part with the last one, where both are one tensor of one side with the same other axes."""
    last = parts[-1]
    if len(last.terms) != 1 or last.terms.keys() != part.terms.keys():
        return False
    ((side, name),), (other,) = last.terms.items(), part.terms.values()
    graph = graphs.of[side]
    before, after = graph.shape(name), graph.shape(other)
    if len(before) != len(shape) or len(after) != len(shape) or before[axis] != last.width or after[axis] != part.width:
        return False
    if (*before[:axis], *before[axis + 1 :]) != (*after[:axis], *after[axis + 1 :]):
        return False
    parts[-1] = Part(last.width + part.width, {side: graph.join([name, other], axis)})
    return True


def _reshaped(graphs: Graphs, value: Value, part: Part, shape: Shape, width: int) -> Part:
    whole = value.shape_of(part)
    terms = {side: graphs.of[side].reshape(graphs.exact(side, name, whole), shape) for side, name in part.terms.items()}
    constant = part.constant
    if constant is not None:
        one_row = tuple(1 if length == ROWS else length for length in whole)
        constant = np.broadcast_to(constant, one_row).reshape([1 if length == ROWS else length for length in shape])
    return Part(width, terms, constant)


def _check_rank(graphs: Graphs, value: Value, part: Part) -> None:
    if any(len(graphs.of[side].shape(name)) != len(value.shape) for side, name in part.terms.items()):
        raise Unsplittable("its inputs have other axes")


def _padded(array: Array, rank: int) -> Array:
    return array.reshape((*((1,) * (rank - array.ndim)), *array.shape))


def _row_product(shape: Shape) -> int:
    """Return the product of lengths, negative where the rows are among them."""
    return int(np.prod(shape, dtype=np.int64))
