"""Bounds of features: which rows hold a value beyond what the schema, or a table of the graph, has. Pure.

One such value would cost the scores of all rows in its call: ONNX Runtime gives none where an id is in no table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.vectors.feature.columns import to_elements
from ranker.vectors.feature.description import Feature
from ranker.vectors.rounding import Mask
from ranker.vectors.rows import Matrix

Limits = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""The least and the largest of each element, shape (size,) each."""


def limits_of(feature: Feature) -> Limits | None:
    """Return a feature's bounds; None where it has none.

    Raises:
        ValueError: they have another shape than the feature.
    """
    if feature.min is None and feature.max is None:
        return None
    whole = feature.kind.whole
    ends = (-(1 << 63), (1 << 63) - 1) if whole else (-np.inf, np.inf)
    given = (end if limit is None else limit for limit, end in zip((feature.min, feature.max), ends, strict=True))
    shape = (feature.length or 1, *feature.shape) if feature.is_sequence else feature.shape
    least, largest = (
        np.broadcast_to(np.array(limit, dtype=np.int64 if whole else np.float64), shape).ravel() for limit in given
    )
    return least, largest


class Bounds:
    """The bounds of a group's features.

    Args:
        features: The features.
        slices: Their columns.
    """

    def __init__(self, features: Sequence[Feature], slices: Mapping[str, slice]) -> None:
        bound = [(f, slices[f.name], limits) for f in features if (limits := limits_of(f)) is not None]
        # One float for each element: compared together.
        self._direct = [one for one in bound if one[0].kind.digits == 1 and not one[0].is_sequence]
        self._others = [one for one in bound if one not in self._direct]
        columns = [np.arange(at.start, at.stop) for _, at, _ in self._direct]
        self._columns = np.concatenate([np.zeros(0, np.intp), *columns])
        self._least = np.concatenate([np.zeros(0), *(limits[0] for _, _, limits in self._direct)])
        self._largest = np.concatenate([np.zeros(0), *(limits[1] for _, _, limits in self._direct)])

    def __bool__(self) -> bool:
        return bool(self._direct or self._others)

    def find_beyond(self, rows: Matrix) -> Mask:
        """Return which rows hold a value beyond its bounds, shape (n,); NaN is within."""
        values = rows[:, self._columns]
        beyond: Mask = np.any((values < self._least) | (values > self._largest), axis=1)
        for feature, at, limits in self._others:
            beyond |= _beyond(feature, rows[:, at], limits).any(axis=1)
        return beyond

    def describe(self, row: npt.NDArray[np.float32]) -> tuple[str, str]:
        """Return the feature of a row, shape (W,), whose value is beyond its bounds, and what is to be said of it."""
        for feature, at, limits in (*self._direct, *self._others):
            beyond = _beyond(feature, row[np.newaxis, at], limits)[0]
            if beyond.any():
                i = int(beyond.argmax())
                value = to_elements(feature, row[np.newaxis, at]).items[0, i]
                shown, least, largest = (_spell(number) for number in (value, limits[0][i], limits[1][i]))
                return feature.name, f"{shown} is beyond {least} to {largest}"
        raise ValueError("no value of the row is beyond its bounds")


def _spell(number: np.generic) -> str:
    return str(number) if isinstance(number, np.integer) else f"{number:.9g}"


def _beyond(feature: Feature, columns: Matrix, limits: Limits) -> Mask:
    with np.errstate(invalid="ignore"):  # rows that were not found hold anything
        items, counts = to_elements(feature, columns)
    found: Mask = (items < limits[0]) | (items > limits[1])
    if counts is not None:
        places = np.arange(feature.size) // max(1, feature.size // (feature.length or 1))
        found &= places < counts[:, np.newaxis]
    return found
