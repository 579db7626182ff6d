"""Products of what the sides give with each other: block by block, each where both of its factors are.

Owns which elements of a product of all with all (as DLRM's interactions are) are whose. Knows nothing of weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from ranker.importing.splitting.graphs import Graphs
from ranker.importing.splitting.values import ROWS, Abstract, Part, Shape, Value
from ranker.scoring.split.parts import Side


@dataclass(frozen=True)
class Blocks(Value):
    """A product as the pair part has it, and block by block.

    Attributes:
        heights: Of the blocks, along axis 1.
        widths: Of the blocks, along axis 2.
        names: Whose each block is, and its tensor (n, height, width).
    """

    heights: tuple[int, ...] = ()
    widths: tuple[int, ...] = ()
    names: Mapping[tuple[int, int], tuple[Side, str]] = field(default_factory=dict)


def fits(inputs: Sequence[Abstract | None]) -> bool:
    """Whether a product is one of parts (n, P, K) with parts (n, K, Q)."""
    left, right = inputs
    if not isinstance(left, Value) or not isinstance(right, Value) or not left.shape[0] == right.shape[0] == ROWS:
        return False
    parts = (*left.parts, *right.parts)
    cut = (left.axis, len(left.shape), right.axis, len(right.shape)) == (1, 3, 2, 3) and len(parts) > 2
    return cut and all(part.terms for part in parts)


def cut(graphs: Graphs, left: Value, right: Value, whole: Value) -> Blocks:
    """Write each block where both of its factors are."""
    names = {}
    for i, above in enumerate(left.parts):
        for j, beside in enumerate(right.parts):
            sides = {*above.terms, *beside.terms}
            side = sides.pop() if len(sides) == 1 else Side.PAIR
            factors = graphs.part(left, above, side), graphs.part(right, beside, side)
            shape = (ROWS, above.width, beside.width)
            names[i, j] = side, graphs.of[side].node("MatMul", *factors, shape=shape)
    heights, widths = (tuple(part.width for part in value.parts) for value in (left, right))
    return Blocks(whole.shape, whole.dtype, whole.axis, whole.parts, heights, widths, names)


def flatten(value: Blocks, whole: Value) -> Blocks:
    """Return a product as (n, P * Q), of which `whole` is what the pair part has."""
    return Blocks(whole.shape, whole.dtype, whole.axis, whole.parts, value.heights, value.widths, value.names)


def pick(graphs: Graphs, value: Blocks, indices: Sequence[int]) -> Value:
    """Take elements of a product (n, P * Q), each of its own block."""
    row_of, column_of = _positions(value.heights), _positions(value.widths)
    picked = []
    for index in indices:
        (i, row), (j, column) = row_of[index // len(column_of)], column_of[index % len(column_of)]
        picked.append(((i, j), row * value.widths[j] + column))
    parts = []
    for block, run in groupby(picked, key=lambda one: one[0]):
        places = [place for _, place in run]
        side, name = value.names[block]
        graph = graphs.of[side]
        flat = graph.reshape(name, (ROWS, value.heights[block[0]] * value.widths[block[1]]))
        parts.append(Part(len(places), {side: graph.take(flat, 1, places)}))
    shape: Shape = (ROWS, len(indices))
    return Value(shape, value.dtype, 1, tuple(parts))


def _positions(lengths: Sequence[int]) -> list[tuple[int, int]]:
    return [(i, place) for i, length in enumerate(lengths) for place in range(length)]
