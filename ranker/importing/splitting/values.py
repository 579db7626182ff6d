"""Abstract values: what is known of a tensor of the graph before it runs: its shape, and which side gives each part.

Owns the forms that a value may have. Knows nothing of operators or of the graphs that are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.scoring.split.parts import Side

ROWS = -1
"""Length of the axis along which the rows lie."""
Shape = tuple[int, ...]
Array = npt.NDArray[Any]


class Unsplittable(Exception):
    """Say why an operation cannot be moved out of the pair part."""


@dataclass(frozen=True)
class Fact:
    """Fact about a tensor, as trials have shown it.

    Attributes:
        shape: With `ROWS` for the one axis of the rows; None where there is no such axis, or lengths vary otherwise.
        dtype: None for what is no tensor.
    """

    shape: Shape | None
    dtype: np.dtype[Any] | None

    @property
    def known(self) -> tuple[Shape, np.dtype[Any]]:
        """Shape and type; raises Unsplittable where they are not known."""
        if self.shape is None or self.dtype is None:
            raise Unsplittable("its result has no axis of rows, or lengths that vary")
        return self.shape, self.dtype


@dataclass(frozen=True)
class Constant:
    """A tensor that is the same for all rows."""

    array: Array


@dataclass(frozen=True)
class Counted:
    """Whole numbers that depend on nothing but how many rows there are: `offset + slope * n`."""

    offset: Array
    slope: Array


@dataclass(frozen=True)
class Opaque:
    """Whatever the pair part has under a name."""

    name: str


@dataclass(frozen=True)
class Part:
    """A stretch of a value along its axis: a sum of tensors, at most one of each side.

    Attributes:
        width: Its length along the axis.
        terms: Names of tensors in the sides' graphs, each of which broadcasts to the part's shape.
        constant: What stands there where no side gives anything; broadcasts likewise, with 1 for the rows.
    """

    width: int
    terms: Mapping[Side, str] = field(default_factory=lambda: MappingProxyType({}))
    constant: Array | None = None


@dataclass(frozen=True)
class Value:
    """A tensor with an axis of rows, as parts along one of its axes."""

    shape: Shape
    dtype: np.dtype[Any]
    axis: int
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Which axis is that of the rows."""
        return self.shape.index(ROWS)

    @property
    def sides(self) -> frozenset[Side]:
        return frozenset(side for part in self.parts for side in part.terms)

    def shape_of(self, part: Part) -> Shape:
        """Return the whole shape of a part, whatever its terms have."""
        return (*self.shape[: self.axis], part.width, *self.shape[self.axis + 1 :])


Abstract = Constant | Counted | Opaque | Value


def single(shape: Shape, dtype: np.dtype[Any], terms: Mapping[Side, str]) -> Value:
    """Return a value of one part."""
    axis = last_axis(shape)
    return Value(shape, dtype, axis, (Part(shape[axis], terms),))


def last_axis(shape: Shape) -> int:
    """Return the last axis that is not the rows' one; theirs where there is no other."""
    return next((i for i in reversed(range(len(shape))) if shape[i] != ROWS), len(shape) - 1)


def broadcast(*shapes: Shape) -> Shape:
    """Return the shape that shapes broadcast to.

    Raises:
        Unsplittable: they do not.
    """
    rank = max(map(len, shapes))
    padded = [(*((1,) * (rank - len(shape))), *shape) for shape in shapes]
    result = []
    for lengths in zip(*padded, strict=True):
        others = {length for length in lengths if length != 1}
        if len(others) > 1:
            raise Unsplittable("shapes do not fit each other")
        result.append(others.pop() if others else 1)
    return tuple(result)


def size_of(shape: Shape) -> int:
    """Return how many elements a row has."""
    return int(np.prod([length for length in shape if length != ROWS], dtype=np.int64))
