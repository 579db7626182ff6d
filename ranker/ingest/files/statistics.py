"""Statistics of features, over any number of rows in little memory; and their JSON, for the record of a load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ranker.ingest.files.rows import Floats
from ranker.vectors.rows import Matrix


class Statistics:
    """Mean, deviation and range of each of W features, over rows added block by block; NaN is passed by.

    Attributes:
        count: Rows.
        mean: Shape (W,); 0 where a feature had no number.
        min: Shape (W,); infinite where a feature had no number.
        max: The same.
    """

    def __init__(self, width: int) -> None:
        self.count = 0
        self._counts = np.zeros(width)
        self.mean = np.zeros(width)
        self._squares = np.zeros(width)
        self.min = np.full(width, np.inf)
        self.max = np.full(width, -np.inf)

    def add(self, matrix: Matrix) -> None:
        """Add rows, shape (n, W); merging as Chan, Golub and LeVeque do (1979)."""
        n = len(matrix)
        if not n:
            return
        values = matrix.astype(np.float64)
        np.fmin(self.min, np.fmin.reduce(values), out=self.min)
        np.fmax(self.max, np.fmax.reduce(values), out=self.max)
        absent = np.isnan(matrix)
        has_absent = bool(absent.any())
        counts = np.full(len(self.mean), n)
        if has_absent:
            counts -= absent.sum(axis=0)
            values[absent] = 0
        mean = values.sum(axis=0) / np.maximum(counts, 1)
        values -= mean
        if has_absent:
            values[absent] = 0
        np.square(values, out=values)
        total = self._counts + counts
        share = counts / np.maximum(total, 1)
        delta = mean - self.mean
        self._squares += values.sum(axis=0) + delta**2 * self._counts * share
        self.mean += delta * share
        self._counts = total
        self.count += n

    @property
    def deviation(self) -> Floats:
        """The standard deviation of each feature, shape (W,)."""
        deviation: Floats = np.sqrt(self._squares / np.maximum(self._counts, 1))
        return deviation

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """Return plain data; `from_json` reads it back."""
        columns = zip(names, self._counts, self.mean, self.deviation, self.min, self.max, strict=True)
        features = {name: [float(x) for x in figures] for name, count, *figures in columns if count}
        return {"count": self.count, "mean_deviation_min_max": features}

    @classmethod
    def from_json(cls, data: dict[str, Any], names: Sequence[str]) -> Statistics | None:
        """Read what `to_json` gave; None when it was empty or of other features.

        A feature that had no number there has NaN for all figures.
        """
        features = data.get("mean_deviation_min_max", {})
        if not data.get("count") or not set(features) <= set(names):
            return None
        read = cls(len(names))
        read.count = int(data["count"])
        read._counts[:] = [read.count if name in features else 0 for name in names]
        unknown = [np.nan] * 4
        read.mean, deviation, read.min, read.max = np.array([features.get(name, unknown) for name in names]).T
        read._squares = deviation**2 * read.count
        return read
