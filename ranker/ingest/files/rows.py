"""Row blocks on their way from a file to the store: as read, what is wrong with them, and their statistics.

Owns the words in which a rejected row is reported. Knows nothing of file formats or Redis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ranker.errors import MissingColumns, UnreadableFile
from ranker.ingest.typed_columns import Converted
from ranker.ingest.validation import FindIdProblem, id_problem
from ranker.vectors.feature import Feature
from ranker.vectors.feature.bounds import Bounds
from ranker.vectors.group import EntitySchema
from ranker.vectors.rounding import Mask
from ranker.vectors.rows import Matrix

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

BLOCK_VALUES = 1 << 18
"""Numbers in a block: 2 MB as read, whatever the width."""

NO_VALUE = "a value is missing"
NOT_A_NUMBER = "a value is no number"
WRONG_TYPE = "a value is none of its type"
BEYOND = "a value is beyond its bounds"
NAN = "a value is NaN"
INFINITE = "a value is infinite"
TOO_LARGE = "a value is beyond float32"
ROUNDED = "a whole number is not the same in float32"
WRONG_WIDTH = "the row has too few or too many fields"
NO_OBJECT = "the line is no JSON object"
REPEATED = "the line has a name more than once"
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
        defaults: Features whose absent values become their default, and that.
        entity: The features with their types, where not all are plain numbers; None where all are.
        bounds: Of the features; None where they have none.
        find_id_problem: Says why an id cannot be stored; None when it can.
    """

    id: str
    features: tuple[str, ...]
    allow_rounding: bool = False
    may_be_nan: frozenset[str] = frozenset()
    defaults: Mapping[str, float] = field(default_factory=dict)
    entity: EntitySchema | None = None
    bounds: Bounds | None = None
    find_id_problem: FindIdProblem = id_problem

    @classmethod
    def of(
        cls, entity: EntitySchema, id_column: str, find_id_problem: FindIdProblem = id_problem, *, allow_rounding: bool
    ) -> Self:
        """Return what an entity's vectors are made of."""
        nan = np.isnan(entity.defaults)
        slices = entity.slices
        may_be_nan = frozenset(
            f.name for f in entity.features if nan[slices[f.name]].any() or "nan" in (f.missing, f.unknown)
        )
        plain = [f for f in entity.features if f.is_plain and f.missing == "default"]
        defaults = {f.name: float(entity.defaults[slices[f.name].start]) for f in plain}
        typed, bounds = None if entity.is_plain else entity, entity.bounds or None
        return cls(id_column, entity.names, allow_rounding, may_be_nan, defaults, typed, bounds, find_id_problem)

    @property
    def width(self) -> int:
        """W, the number of columns that the features become."""
        return len(self.features) if self.entity is None else self.entity.width

    @property
    def column_names(self) -> tuple[str, ...]:
        """What these are called, W of them."""
        return self.features if self.entity is None else self.entity.column_names

    @property
    def places(self) -> Mapping[str, slice]:
        """The columns of each feature."""
        if self.entity is not None:
            return self.entity.slices
        return {name: slice(j, j + 1) for j, name in enumerate(self.features)}

    @property
    def plain(self) -> list[tuple[str, int]]:
        """The features that are plain numbers, and the column of each."""
        if self.entity is None:
            return list(zip(self.features, range(len(self.features)), strict=True))
        return [(f.name, self.entity.slices[f.name].start) for f in self.entity.features if f.is_plain]

    @property
    def typed(self) -> list[tuple[Feature, slice]]:
        """The other features, and the columns of each."""
        if self.entity is None:
            return []
        return [(f, self.entity.slices[f.name]) for f in self.entity.features if not f.is_plain]

    def feature_of(self, column: int) -> str:
        """Return whose a column is."""
        return self.features[column] if self.entity is None else self.entity.feature_of(column)

    def may_lack(self, name: str) -> bool:
        """Return whether a plain feature's value may be absent."""
        return name in self.may_be_nan or name in self.defaults

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
        return max(1, min(8192, BLOCK_VALUES // self.width))


@dataclass(slots=True)
class Block:
    """n rows as read.

    Attributes:
        numbers: Shape (n,), each row's number in its file, from 1.
        ids: n ids; empty where there is none.
        values: Shape (n, W), float64, the columns in the schema's order; meaningless in rows that have a fault.
        faults: What reading found wrong, by position in the block.
        rounded: Shape (n, W): which numbers of the file are whole and not the same in float32; None for none of them.
        unknown: Texts that count as unknown categories, and how often, by feature.
        lacking: Typed features without a single value, for which something stands in.
    """

    numbers: Integers
    ids: list[str]
    values: Floats
    faults: dict[int, Fault] = field(default_factory=dict)
    rounded: Mask | None = None
    unknown: dict[str, Counter[str]] = field(default_factory=dict)
    lacking: set[str] = field(default_factory=set)

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
        for name, j in columns.plain if columns.defaults else ():
            if name in columns.defaults:
                matrix[np.isnan(matrix[:, j]), j] = columns.defaults[name]
        wrong = ~np.isfinite(matrix)
        places = columns.places if columns.may_be_nan else {}
        for name in columns.may_be_nan:
            wrong[:, places[name]] &= ~np.isnan(matrix[:, places[name]])
        for i in np.flatnonzero(wrong.any(axis=1)).tolist():
            if i not in faults:
                faults[i] = self._worst(i, int(wrong[i].argmax()), columns)
        if self.rounded is not None and not columns.allow_rounding:
            for i in np.flatnonzero(self.rounded.any(axis=1)).tolist():
                faults.setdefault(i, Fault(ROUNDED, columns.feature_of(int(self.rounded[i].argmax()))))
        if columns.bounds is not None:
            for i in np.flatnonzero(columns.bounds.find_beyond(matrix)).tolist():
                if i not in faults:
                    name, reason = columns.bounds.describe(matrix[i])
                    faults[i] = Fault(f"{BEYOND} ({reason})", name)
        for i, identifier in enumerate(self.ids):
            if problem := columns.find_id_problem(identifier):
                faults.setdefault(i, Fault(problem))
        if not faults:
            return np.arange(len(self)), matrix, faults
        good = np.ones(len(self), dtype=bool)
        good[list(faults)] = False
        return np.flatnonzero(good), matrix[good], faults

    def _worst(self, i: int, j: int, columns: Columns) -> Fault:
        value = self.values[i, j]
        reason = NAN if np.isnan(value) else INFINITE if np.isinf(value) else TOO_LARGE
        return Fault(reason, columns.feature_of(j))

    def convert(self, feature: Feature, at: slice, found: Converted) -> None:
        """Take over a typed feature's converted values, and what is wrong with them."""
        self.values[:, at] = found.columns
        if found.unknown:
            self.unknown[feature.name] = found.unknown
        if found.lacks_all:
            self.lacking.add(feature.name)
        for i in found.absent:
            self.faults.setdefault(i, Fault(NO_VALUE, feature.name))
        for i, reason in found.unusable.items():
            self.faults.setdefault(i, Fault(f"{WRONG_TYPE} ({reason})", feature.name))
        if found.rounded is not None and found.rounded.any():
            if self.rounded is None:
                self.rounded = np.zeros(self.values.shape, dtype=np.bool_)
            self.rounded[:, at.start] = found.rounded
