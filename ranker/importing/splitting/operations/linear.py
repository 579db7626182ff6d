"""Linear operations over an axis: products with constant weights, sums and means: of each side for itself.

Owns how weights are cut by the columns that each side gives. Knows nothing of elementwise operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ranker.importing.splitting.graphs import FIRST, Graphs
from ranker.importing.splitting.operations.axis_rules import axes_of
from ranker.importing.splitting.values import (
    Abstract,
    Array,
    Constant,
    Fact,
    Part,
    Shape,
    Unsplittable,
    Value,
    single,
)
from ranker.scoring.split.parts import Side


class Sum:
    """A sum of tensors and constants, of which one is left for each side."""

    def __init__(self, graphs: Graphs) -> None:
        self._graphs = graphs
        self._terms: dict[Side, str] = {}
        self._constant: Array | None = None

    def add(self, side: Side, name: str) -> None:
        self._terms[side] = self._graphs.add(side, self._terms[side], name) if side in self._terms else name

    def add_constant(self, array: Array) -> None:
        self._constant = array if self._constant is None else self._constant + array

    def terms(self) -> dict[Side, str]:
        """Return the terms, with the constant in the first of them."""
        if self._constant is not None:
            side = next((side for side in FIRST if side in self._terms), None)
            if side is None:
                raise Unsplittable("it takes nothing of any side")
            self._terms[side] = self._graphs.add(
                side, self._terms[side], self._graphs.of[side].constant(self._constant)
            )
        return self._terms


def multiply(graphs: Graphs, inputs: Sequence[Abstract | None], fact: Fact) -> Value:
    """Multiply a value with a constant matrix: each part, and each side's term, with its own rows of the weights.

    Raises:
        Unsplittable: it is another product.
    """
    value, weights = inputs
    if not isinstance(value, Value) or not isinstance(weights, Constant) or weights.array.ndim != 2:
        raise Unsplittable("it multiplies what the sides give with each other")
    last = len(value.shape) - 1
    shape, _ = fact.known
    if value.rows == last or value.dtype.kind != "f":
        raise Unsplittable("it works over the axis of the rows")
    if value.axis != last and len(value.parts) > 1:
        parts = [
            Part(part.width, {side: _product(graphs, side, name, weights.array) for side, name in part.terms.items()},
                 None if part.constant is None else _full(part.constant, value.shape[last]) @ weights.array)
            for part in value.parts
        ]  # fmt: skip
        return Value(shape, value.dtype, value.axis, tuple(parts))
    total = Sum(graphs)
    for side, names, cut in _by_side(graphs, value, weights.array):
        total.add(side, _product(graphs, side, graphs.of[side].join(names, last), cut))
    start = 0
    for part in value.parts:
        if part.constant is not None:
            total.add_constant(_full(part.constant, part.width) @ weights.array[start : start + part.width])
        start += part.width
    return single(shape, value.dtype, total.terms())


def reduce(
    graphs: Graphs, node: Any, inputs: Sequence[Abstract | None], fact: Fact, attributes: Mapping[str, Any]
) -> Value:
    """Sum (or mean) over axes: of each part and side for itself, and then over the parts.

    Raises:
        Unsplittable: it is over the rows.
    """
    value = inputs[0]
    shape, _ = fact.known
    if not isinstance(value, Value) or value.dtype.kind != "f":
        raise Unsplittable("it takes what only the pair part has")
    axes = axes_of(inputs, attributes, len(value.shape))
    if value.rows in axes:
        raise Unsplittable("it works over the axis of the rows")
    keeps = bool(attributes.get("keepdims", 1))
    mean = node.op_type == "ReduceMean"

    def reduced(side: Side, name: str, part: Part) -> str:
        graph = graphs.of[side]
        before = graph.shape(name)
        if len(before) != len(value.shape):
            raise Unsplittable("its inputs have other axes")
        others = [graph.constant(v.array) for v in inputs[1:] if isinstance(v, Constant)]
        after = tuple(1 if i in axes else length for i, length in enumerate(before) if keeps or i not in axes)
        (made,) = graphs.clone(node, side, [name, *others], [Fact(after, value.dtype)])
        whole = value.shape_of(part)
        repeated = int(np.prod([whole[i] for i in axes if before[i] == 1], dtype=np.int64))
        factor = part.width / value.shape[value.axis] if mean and value.axis in axes else 1.0 if mean else repeated
        return made if factor == 1 else _scaled(graphs, side, made, factor)

    if value.axis not in axes and len(value.parts) > 1:
        axis = value.axis if keeps else value.axis - sum(i < value.axis for i in axes)
        if any(part.constant is not None for part in value.parts):
            raise Unsplittable("constants stand between what it sums")
        parts = [Part(p.width, {side: reduced(side, name, p) for side, name in p.terms.items()}) for p in value.parts]
        return Value(shape, value.dtype, axis, tuple(parts))
    total = Sum(graphs)
    for part in value.parts:
        for side, name in part.terms.items():
            total.add(side, reduced(side, name, part))
        if part.constant is not None:
            total.add_constant(_constant_sum(part, value, tuple(axes), keeps, mean))
    return single(shape, value.dtype, total.terms())


def _by_side(graphs: Graphs, value: Value, weights: Array) -> list[tuple[Side, list[str], Array]]:
    """Return the terms of all parts that can be joined, with the weights that they are multiplied with.

    Places of one tensor stand in its own order, whatever the order of the columns was: often none need be moved. One
    that stands twice keeps its two rows of weights: of an infinity, their sum would make a number of what is none.
    """
    found: dict[tuple[Side, Shape], dict[str, list[tuple[int, Array]]]] = {}
    start = 0
    for part in value.parts:
        for side, term in part.terms.items():
            graph = graphs.of[side]
            shape = graph.shape(term)
            name = graph.expand(term, (*shape[:-1], part.width))
            sources = found.setdefault((side, shape[:-1]), {})
            stands = [(source, place) for source, those in graph.places_of(name) for place in those]
            for (source, place), row in zip(stands, weights[start : start + part.width], strict=True):
                sources.setdefault(source, []).append((place, row))
        start += part.width
    joined = []
    for (side, _), sources in found.items():
        graph = graphs.of[side]
        names, cut = [], []
        for name, rows in sources.items():
            rows.sort(key=lambda row: row[0])
            shape = graph.shape(name)
            places = [place for place, _ in rows]
            names += [name] * len(rows) if shape[-1] == 1 else [graph.take(name, len(shape) - 1, places)]
            cut += [row for _, row in rows]
        joined.append((side, names, np.stack(cut)))
    return joined


def _product(graphs: Graphs, side: Side, name: str, weights: Array) -> str:
    graph = graphs.of[side]
    shape = graph.shape(name)
    name = graph.expand(name, (*shape[:-1], len(weights)))
    constant = graph.constant(np.ascontiguousarray(weights))
    return graph.node("MatMul", name, constant, shape=(*shape[:-1], weights.shape[1]))


def _full(constant: Array, width: int) -> Array:
    """Return a constant with all places of the last axis."""
    return np.broadcast_to(constant, (*constant.shape[:-1], width))


def _constant_sum(part: Part, value: Value, axes: tuple[int, ...], keeps: bool, mean: bool) -> Array:
    assert part.constant is not None
    shape = tuple(1 if i == value.rows else length for i, length in enumerate(value.shape_of(part)))
    total = np.broadcast_to(part.constant, shape).sum(axis=axes, keepdims=keeps, dtype=value.dtype)
    count = np.prod([value.shape[i] for i in axes], dtype=np.float64) if mean else 1.0
    return np.asarray(total / value.dtype.type(count))


def _scaled(graphs: Graphs, side: Side, name: str, factor: float) -> str:
    graph = graphs.of[side]
    constant = graph.constant(np.array(factor, dtype=graph.dtype(name)))
    return graph.node("Mul", name, constant, shape=graph.shape(name))
