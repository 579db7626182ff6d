"""Frames of features: a column per feature of a schema, whatever group it is in; to rows of the matrix and back.

Owns what a column is called and which library a frame is of. A feature's column has its name; where two groups have
that name, it is `group.name`, which is understood everywhere; a history's side information is `history.name`. Knows no
Redis and no model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ranker.errors import InvalidRows, NoSuchLibrary, WrongColumn, WrongColumns, WrongMatrix
from ranker.ingest.frames import names_in, plain_values
from ranker.ingest.validation import NUMBERS, check_rows
from ranker.ranking.context.values import Refused, ValueReader
from ranker.vectors.feature import LARGEST, ContextFeature, ProductContextFeature
from ranker.vectors.feature.shown import show
from ranker.vectors.group import EntitySchema, FeatureGroup
from ranker.vectors.rows import Matrix
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.side_information import SideInformation

Library = Literal["pandas", "polars", "pyarrow"]
Columns = Mapping[str, Any]
"""Name → n values."""


def make_frame(columns: Columns, library: Library) -> Any:
    """Return a data frame of a library that is installed.

    Raises:
        NoSuchLibrary: it is not.
    """
    try:
        if library == "pandas":
            import pandas as pd

            # Of integers and None pandas makes floats, and an id beyond 2^53 is another's then.
            return pd.DataFrame({n: pd.array(c, "Int64") if _may_lack_integers(c) else c for n, c in columns.items()})
        if library == "polars":
            import polars as pl

            return pl.DataFrame(dict(columns))
        if library == "pyarrow":
            import pyarrow as pa

            return pa.table(dict(columns))
    except ImportError as err:
        raise NoSuchLibrary(library) from err
    raise NoSuchLibrary(library)


def _may_lack_integers(column: Any) -> bool:
    """Say whether these are integers and, in the place of some, None."""
    return isinstance(column, list) and None in column and {*map(type, column)} == {int, type(None)}


def column_names(schema: FeatureSchema) -> list[str]:
    """Return what the features of a schema are called in a frame, in the order of its groups."""
    names = [(group, name) for group, part in schema.groups.items() for name in part.names]
    ambiguous = _ambiguous(schema)
    return [
        f"{group}.{name}" if group in schema.side_information or name in ambiguous else name for group, name in names
    ]


def feature_columns(schema: FeatureSchema, group: str, rows: Matrix) -> dict[str, Any]:
    """Return the values of a group's features by name, from its n rows (n, W): numbers, or what else their type is.

    A feature of one float32 is an array of that; another one is a list of values as requests have them.
    """
    part = schema.groups[group]
    columns: dict[str, Any] = {}
    for feature in part.features:
        at = part.slices[feature.name]
        if feature.is_plain:
            columns[feature.name] = np.ascontiguousarray(rows[:, at.start])
        else:
            columns[feature.name] = [show(feature, row) for row in rows[:, at]]
    return columns


class View:
    """Some columns of a frame, under other names, as a frame.

    Args:
        frame: Gives a column for its name.
        columns: Name here → name there.
    """

    def __init__(self, frame: Any, columns: Mapping[str, str]) -> None:
        self._frame = frame
        self._columns = columns
        self.column_names = list(columns)

    def __getitem__(self, name: str) -> Any:
        return self._frame[self._columns[name]]


def is_frame(given: Any) -> bool:
    """Say whether something has named columns."""
    return isinstance(given, Mapping) or hasattr(given, "columns") or hasattr(given, "column_names")


def matrix_of(schema: FeatureSchema, given: Any, *, allow_rounding: bool = False) -> Matrix:
    """Return the model's rows, shape (n, F), float32, as the service would make them of the same values.

    Args:
        schema: The model's.
        given: A frame with a column for each feature of every group; others are ignored. Or an array (n, F), columns in
            the schema's order.
        allow_rounding: Whether whole numbers that float32 changes are taken as it has them.

    Raises:
        WrongColumns: features have no column, or two.
        InvalidRows, WrongColumn, WrongMatrix: what is in them is nothing that the service could have.
    """
    if not is_frame(given):
        array = np.asarray(given)
        if array.ndim != 2 or array.shape[1] != schema.width or array.dtype.kind not in NUMBERS:
            raise WrongMatrix(array.dtype, array.shape, len(array) if array.ndim else 0, schema.width)
        return np.ascontiguousarray(array, dtype=np.float32)
    ambiguous = _ambiguous(schema)
    views = {
        name: _view(
            name, group.names, given, ambiguous | {*group.names} if name in schema.side_information else ambiguous
        )
        for name, group in schema.groups.items()
    }
    n = len(np.asarray(views["product"][schema.product.names[0]]))
    parts = [
        check_rows(["row"] * n, view, group, allow_rounding=allow_rounding)
        if isinstance(group := schema.groups[name], EntitySchema | SideInformation)
        else _context(name, group, view, n)
        for name, view in views.items()
    ]
    return np.hstack(parts, dtype=np.float32)


def _ambiguous(schema: FeatureSchema) -> set[str]:
    """Return the names that several groups have; side information goes by its history's name before its own anyway."""
    counts = Counter(name for group in schema.described_groups.values() for name in group.names)
    return {name for name, count in counts.items() if count > 1}


def entity_rows(schema: FeatureSchema, group: str, given: Any, n: int, *, allow_rounding: bool = False) -> Matrix:
    """Return the rows of one entity, shape (n, W), float32; arguments and errors are those of `matrix_of`."""
    part = schema.groups[group]
    assert isinstance(part, EntitySchema)  # narrows: callers name no other
    view = _view(group, part.names, given) if is_frame(given) else given
    return check_rows(["row"] * n, view, part, allow_rounding=allow_rounding)


def _view(group: str, names: Sequence[str], frame: Any, ambiguous: AbstractSet[str] = frozenset()) -> View:
    """Return the columns of a group under the names of its features; those that are ambiguous go by `group.name`."""
    there = names_in(frame)
    found: dict[str, str] = {}
    missing: list[str] = []
    for name in names:
        full = f"{group}.{name}"
        if full in there:
            found[name] = full
        elif name in there and name not in ambiguous:
            found[name] = name
        else:
            missing.append(full if name in ambiguous else name)
    repeated = [column for column in found.values() if there.count(column) > 1]
    if missing or repeated:
        raise WrongColumns(missing, [], repeated, names, or_array=False)
    return View(frame, found)


def _context(name: str, group: FeatureGroup, view: View, n: int) -> Matrix:
    rows = np.empty((n, group.width), dtype=np.float32)
    typed = ValueReader(lambda *_: None)
    for feature in group.features:
        assert isinstance(feature, ProductContextFeature)  # narrows: the two groups have no others
        at = group.slices[feature.name]
        if feature.is_plain:
            rows[:, at.start] = _context_column(feature, np.asarray(view[feature.name]), n)
            continue
        try:
            rows[:, at] = typed.read(name, feature, plain_values(view[feature.name]), group.defaults[at], n)
        except Refused as err:
            raise InvalidRows([(0, f"{feature.name}{err}")]) from None
    return rows


def _context_column(feature: ProductContextFeature, column: npt.NDArray[Any], n: int) -> npt.NDArray[np.float64]:
    """Return what requests would bring: numbers, or those that stand for texts; the default where it is absent."""
    if column.shape != (n,):
        raise WrongColumn(feature.name, column.dtype, column.shape, n)
    if column.dtype.kind in NUMBERS:
        numbers = column.astype(np.float64)
    elif feature.is_category:
        numbers = np.array([_number(feature, text) for text in column.tolist()], dtype=np.float64)
    else:
        raise WrongColumn(feature.name, column.dtype, column.shape, n)
    if (beyond := np.flatnonzero(np.abs(numbers) > LARGEST)).size:
        raise InvalidRows([(int(i), f"{feature.name} is not finite in float32") for i in beyond])
    return np.where(np.isnan(numbers), feature.default, numbers)


def _number(feature: ProductContextFeature, text: object) -> float:
    if not isinstance(text, str):
        return np.nan
    number = feature.number(text) if isinstance(feature, ContextFeature) else (feature.categories or {}).get(text)
    return np.nan if number is None else number


def rows_of_lists(column: Any) -> list[npt.NDArray[np.intp]]:
    """Return the rows of each list, in the frame's order, wherever they lie in it.

    Args:
        column: n values, equal for the rows of one list.
    """
    _, lists = np.unique([str(value) for value in np.asarray(column).tolist()], return_inverse=True)
    return np.split(np.argsort(lists, kind="stable"), np.cumsum(np.bincount(lists))[:-1]) if len(lists) else []
