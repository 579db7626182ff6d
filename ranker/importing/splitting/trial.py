"""Trial: what each tensor of a graph is, seen where it runs: its type, and which of its axes is that of the rows.

Owns what is concluded from a few numbers of rows. Converters declare shapes too loosely to be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ranker.errors import ModelFailed, ModelRejected
from ranker.importing.splitting.reading import Graph
from ranker.importing.splitting.values import ROWS, Array, Constant, Counted, Fact, Unsplittable
from ranker.scoring.graph import proof
from ranker.scoring.graph.inputs import ModelInput
from ranker.scoring.session import Session
from ranker.vectors.schema import FeatureSchema

COUNTS = (2, 3, 7)
"""Numbers of rows that are tried."""


class Trial:
    """Trial of a graph: what it gave for some numbers of rows.

    Attributes:
        facts: By the names of tensors.
    """

    def __init__(self, graph: Graph, inputs: Sequence[ModelInput], schema: FeatureSchema) -> None:
        names = [name for node in graph.nodes for name in node.output if name]
        rows = proof.near_rows(schema)
        rows = rows[np.arange(max(COUNTS)) % len(rows)]
        try:
            session = Session(graph.to_bytes(names))
            runs = [session.run(names, {i.name: i.take(rows[:n]) for i in inputs}, n) for n in COUNTS]
        except (ModelFailed, ModelRejected) as err:
            raise Unsplittable(f"its operations cannot be looked at one by one: {err}") from err
        self._given = dict(zip(names, zip(*runs, strict=True), strict=True))
        self.facts = {name: _fact(arrays) for name, arrays in self._given.items()}
        self.facts |= {i.name: Fact((ROWS, i.width), i.dtype) for i in inputs}

    def counted(self, name: str) -> Constant | Counted | Array | None:
        """Say what a tensor is that depends on nothing but the number of rows.

        Returns:
            A constant, whole numbers, an array that is the same for each row, or None where it is none of these.
        """
        arrays = self._given[name]
        if not all(isinstance(array, np.ndarray) for array in arrays):
            return None
        first = arrays[0]
        if all(array.shape == first.shape for array in arrays):
            if all(np.array_equal(array, first, equal_nan=first.dtype.kind == "f") for array in arrays):
                return Constant(first)
            return _line(arrays)
        shape = self.facts[name].shape
        if shape is None:
            return None
        row = np.take(first, [0], axis=shape.index(ROWS))
        nan = row.dtype.kind == "f"
        if all(np.array_equal(array, np.broadcast_to(row, array.shape), equal_nan=nan) for array in arrays):
            return row
        return None


def _fact(arrays: Sequence[Any]) -> Fact:
    if not all(isinstance(array, np.ndarray) for array in arrays):
        return Fact(None, None)
    shapes = [array.shape for array in arrays]
    dtype = np.dtype(object) if arrays[0].dtype.kind in "OUS" else arrays[0].dtype
    if len({len(shape) for shape in shapes}) > 1:
        return Fact(None, dtype)
    lengths = []
    for axis in zip(*shapes, strict=True):
        if axis != COUNTS and len(set(axis)) > 1:
            return Fact(None, dtype)
        lengths.append(ROWS if axis == COUNTS else axis[0])
    return Fact(tuple(lengths) if lengths.count(ROWS) == 1 and 0 not in lengths else None, dtype)


def _line(arrays: Sequence[Array]) -> Counted | None:
    if arrays[0].dtype.kind != "i" or arrays[0].ndim > 1:
        return None
    two, three, *others = (array.astype(np.int64) for array in arrays)
    slope = three - two
    offset = two - COUNTS[0] * slope
    fits = all(np.array_equal(array, offset + n * slope) for array, n in zip(others, COUNTS[2:], strict=True))
    return Counted(offset, slope) if fits else None
