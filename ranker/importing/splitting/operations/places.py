"""Places: operations that take some elements along an axis by where they stand: of the parts that hold them.

Owns Slice, Split and Gather. Knows nothing of arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ranker.importing.splitting.graphs import Graphs
from ranker.importing.splitting.operations import moves, products
from ranker.importing.splitting.values import Abstract, Constant, Fact, Part, Unsplittable, Value


def by_place(
    graphs: Graphs, node: Any, inputs: Sequence[Abstract | None], facts: Sequence[Fact], attributes: Mapping[str, Any]
) -> list[Value] | None:
    """Return what Slice, Split or Gather of places gives; None for other operations."""
    value = inputs[0]
    if node.op_type == "Gather":
        index = inputs[1]
        if isinstance(value, Constant) and isinstance(index, Value) and not attributes.get("axis", 0):
            return [moves.look_up(graphs, node, value, index, facts[0])]
        if not isinstance(value, Value) or not isinstance(index, Constant):
            return None
        axis = int(attributes.get("axis", 0)) % len(value.shape)
        length = value.shape[axis]
        if isinstance(value, products.Blocks) and len(value.shape) == 2 and axis == 1 and index.array.ndim == 1:
            return [products.pick(graphs, value, [int(i) % length for i in index.array])]
        taken = take(graphs, value, axis, [int(i) % length for i in index.array.reshape(-1)])
        return [moves.reshape(graphs, taken, facts[0].known[0])]
    if not isinstance(value, Value):
        return None
    if node.op_type == "Slice":
        for axis, indices in sliced(inputs, attributes):
            value = take(graphs, value, axis, indices or [])
        return [value]
    if node.op_type == "Split":
        axis = int(attributes.get("axis", 0)) % len(value.shape)
        results, start = [], 0
        for fact in facts:
            width = fact.known[0][axis]
            results.append(take(graphs, value, axis, range(start, start + width)))
            start += width
        return results
    return None


def take(graphs: Graphs, value: Value, axis: int, indices: Sequence[int]) -> Value:
    """Return places of a value along an axis that is not the rows'."""
    if axis == value.rows:
        raise Unsplittable("it takes rows by their place")
    shape = (*value.shape[:axis], len(indices), *value.shape[axis + 1 :])
    if list(indices) == list(range(value.shape[axis])):
        return value
    if not indices:
        raise Unsplittable("it takes nothing")
    if axis != value.axis and len(value.parts) > 1:
        return Value(
            shape, value.dtype, value.axis, tuple(_cut(graphs, p, axis, indices, p.width) for p in value.parts)
        )
    ends = np.cumsum([part.width for part in value.parts]) if axis == value.axis else np.array([value.shape[axis]])
    parts: list[Part] = []
    run: list[int] = []
    of = -1
    for index in [*indices, -1]:
        part = int(np.searchsorted(ends, index, side="right")) if index >= 0 else -1
        if part != of and run:
            start = int(ends[of - 1]) if of else 0
            parts.append(_cut(graphs, value.parts[of], axis, [i - start for i in run], len(run)))
            run = []
        of = part
        run.append(index)
    return Value(shape, value.dtype, axis, tuple(parts))


def sliced(inputs: Sequence[Abstract | None], attributes: Mapping[str, Any]) -> list[tuple[int, list[int] | None]]:
    """Return what a Slice takes: the places along each axis; None for all rows.

    Raises:
        Unsplittable: its bounds are computed.
    """
    value, starts, ends, *others = inputs
    if not isinstance(value, Value) or not all(isinstance(one, Constant) for one in inputs[1:] if one is not None):
        raise Unsplittable("its bounds are computed")
    assert isinstance(starts, Constant)
    assert isinstance(ends, Constant)
    axes = others[0].array.tolist() if others and isinstance(others[0], Constant) else range(len(starts.array))
    steps = others[1].array.tolist() if len(others) > 1 and isinstance(others[1], Constant) else [1] * len(axes)
    taken: list[tuple[int, list[int] | None]] = []
    for axis, start, end, step in zip(axes, starts.array.tolist(), ends.array.tolist(), steps, strict=True):
        axis %= len(value.shape)
        if axis == value.rows:
            if start or step != 1 or end < 1 << 31 - 1:
                raise Unsplittable("it takes rows by their place")
            continue
        length = value.shape[axis]
        taken.append((axis, list(range(length))[slice(start, None if step < 0 and end < -length else end, step)]))
    return taken


def _cut(graphs: Graphs, part: Part, axis: int, indices: Sequence[int], width: int) -> Part:
    terms = {side: graphs.of[side].take(name, axis, indices) for side, name in part.terms.items()}
    constant = part.constant
    if constant is not None and constant.shape[axis] != 1:
        constant = np.take(constant, indices, axis=axis)
    return Part(width, terms, constant)
