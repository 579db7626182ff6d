"""Row blocks on their way from a file to the store: as read, what is wrong with them, and their statistics.

Owns the words in which a rejected row is reported. Knows nothing of file formats or Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ranker.errors import MissingColumns, UnreadableFile
from ranker.ingest.validation import id_problem
from ranker.vectors.group import EntitySchema
from ranker.vectors.rounding import Mask
from ranker.vectors.rows import Matrix

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

BLOCK_VALUES = 1 << 18
"""Numbers in a block: 2 MB as read, whatever the width."""

NO_VALUE = "a value is missing"
NOT_A_NUMBER = "a value is no number"
NAN = "a value is NaN"
INFINITE = "a value is infinite"
TOO_LARGE = "a value is beyond float32"
ROUNDED = "a whole number is not the same in float32"
WRONG_WIDTH = "the row has too few or too many fields"
NO_OBJECT = "the line is no JSON object"
LIST = "a value is a list, and a feature is one number"
NO_ID = "the id is neither text nor a whole number"
DUPLICATE = "the id appeared in an earlier row"


class Fault(NamedTuple):
    """Reason why a row cannot be loaded, and the column at fault where one is."""

    reason: str
    column: str = ""


class Reject(NamedTuple):
    """A row that is not loaded; rows count from 1, a header does not."""

    file: str
    row: int
    id: str
    fault: Fault

    def __str__(self) -> str:
        at = f" ({self.fault.column})" if self.fault.column else ""
        return f"{self.file} row {self.row}, id {self.id[:40]!r}: {self.fault.reason}{at}"


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns wanted from a file.

    Attributes:
        id: The one that holds the ids.
        features: The features, in the schema's order.
        allow_rounding: Whether whole numbers that float32 changes are taken as it has them.
        may_be_nan: Features whose values may be NaN, which is what an absent one becomes.
    """

    id: str
    features: tuple[str, ...]
    allow_rounding: bool = False
    may_be_nan: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entity: EntitySchema, id_column: str, *, allow_rounding: bool) -> Self:
        """Return what an entity's vectors are made of."""
        nan = np.isnan(entity.defaults).tolist()
        may_be_nan = frozenset(name for name, is_nan in zip(entity.names, nan, strict=True) if is_nan)
        return cls(id_column, entity.names, allow_rounding, may_be_nan)

    def match(self, path: object, present: Sequence[str]) -> tuple[str, ...]:
        """Return the columns of a file that nobody asked for.

        Raises:
            MissingColumns: some that are wanted are absent.
            UnreadableFile: one that is wanted is there twice.
        """
        wanted = dict.fromkeys((self.id, *self.features))
        if missing := [name for name in wanted if name not in set(present)]:
            raise MissingColumns(path, missing, present)
        if len(set(present)) < len(present):
            repeated = sorted({name for name in wanted if present.count(name) > 1})
            if repeated:
                raise UnreadableFile(path, f"the column {repeated[0]} appears more than once")
        return tuple(name for name in present if name not in wanted)

    @property
    def block_rows(self) -> int:
        """Rows to read at a time."""
        return max(1, min(8192, BLOCK_VALUES // len(self.features)))


@dataclass(slots=True)
class Block:
    """n rows as read.

    Attributes:
        numbers: Shape (n,), each row's number in its file, from 1.
        ids: n ids; empty where there is none.
        values: Shape (n, W), float64, in the schema's order; meaningless in rows that have a fault.
        faults: What reading found wrong, by position in the block.
        rounded: Shape (n, W): which numbers of the file are whole and not the same in float32; None for none of them.
    """

    numbers: Integers
    ids: list[str]
    values: Floats
    faults: dict[int, Fault] = field(default_factory=dict)
    rounded: Mask | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def validate(self, columns: Columns) -> tuple[Integers, Matrix, dict[int, Fault]]:
        """Tell what can be stored.

        Returns:
            The positions of the g good rows; their vectors, shape (g, W), float32; the faults of the others.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # what is beyond float32 becomes infinite, and is found
            matrix: Matrix = self.values.astype(np.float32)
        faults = dict(self.faults)
        wrong = ~np.isfinite(matrix)
        for j in [columns.features.index(name) for name in columns.may_be_nan]:
            wrong[:, j] &= ~np.isnan(matrix[:, j])
        for i in np.flatnonzero(wrong.any(axis=1)).tolist():
            if i not in faults:
                faults[i] = self._worst(i, int(wrong[i].argmax()), columns)
        if self.rounded is not None and not columns.allow_rounding:
            for i in np.flatnonzero(self.rounded.any(axis=1)).tolist():
                faults.setdefault(i, Fault(ROUNDED, columns.features[int(self.rounded[i].argmax())]))
        for i, identifier in enumerate(self.ids):
            if problem := id_problem(identifier):
                faults.setdefault(i, Fault(problem))
        if not faults:
            return np.arange(len(self)), matrix, faults
        good = np.ones(len(self), dtype=bool)
        good[list(faults)] = False
        return np.flatnonzero(good), matrix[good], faults

    def _worst(self, i: int, j: int, columns: Columns) -> Fault:
        value = self.values[i, j]
        reason = NAN if np.isnan(value) else INFINITE if np.isinf(value) else TOO_LARGE
        return Fault(reason, columns.features[j])


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
