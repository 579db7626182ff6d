"""Validation of rows and ids before they are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.errors import ForeignFormat, InvalidRows, WrongColumn, WrongMatrix
from ranker.ingest.frames import Table, array_of, columns_of, has_lost_digits
from ranker.ingest.typed_columns import convert
from ranker.vectors.feature import Feature
from ranker.vectors.group import EntitySchema, FeatureGroup
from ranker.vectors.rounding import Mask, find_changed, is_changed
from ranker.vectors.rows import MAX_ID_LENGTH, Matrix

NUMBERS = "fiub"
"""The kinds of numpy's types that hold numbers."""
FindIdProblem = Callable[[object], str | None]
"""Says why an id cannot be stored; None when it can."""


def refuse_foreign_format(entity: EntitySchema) -> None:
    """Make sure that version-1 vectors are what the service would read.

    Raises:
        ForeignFormat: the schema declares another format.
    """
    if entity.format != "ranker":
        raise ForeignFormat(entity.key, entity.format)


def check_rows(
    ids: Sequence[str],
    given: Table,
    entity: FeatureGroup,
    *,
    allow_rounding: bool = False,
    find_id_problem: FindIdProblem | None = None,
) -> Matrix:
    """Return rows as float32, shape (n, W), when every one can be stored.

    Args:
        ids: n ids.
        given: A data frame with a column for each feature; or, where all features are numbers or vectors of them, what
            numpy makes an array of shape (n, W) of.
        entity: What the features are, in their order, and what NaN or None becomes.
        allow_rounding: Whether whole numbers that float32 changes are taken as it has them.
        find_id_problem: Says why an id cannot be stored; `id_problem` by default.

    Raises:
        InvalidRows: an id is no string of 1 to 256 characters, a value is none of its type, or a number is not finite
            in float32, or whole and not the same there.
        WrongColumns, WrongColumn: a data frame's columns are others, or one is not n numbers.
        WrongMatrix: it has another shape, or holds something else than numbers.
    """
    find = find_id_problem or id_problem
    rows, rounded, problems = _single(given, len(ids), entity) if entity.is_plain else _typed(given, len(ids), entity)
    problems += [(i, reason) for i, identifier in enumerate(ids) if (reason := find(identifier))]
    finite = np.isfinite(rows) | (np.isnan(rows) & _may_be_nan(entity))
    if not finite.all():
        faulty = {i for i, _ in problems}
        wrong = np.flatnonzero(~finite.all(axis=1)).tolist()
        problems += [(i, _not_finite(entity, rows[i], finite[i])) for i in wrong if i not in faulty]
    if entity.bounds:
        faulty = {i for i, _ in problems}
        for i in np.flatnonzero(entity.bounds.find_beyond(rows)).tolist():
            if i not in faulty:
                name, reason = entity.bounds.describe(rows[i])
                problems.append((i, f"of {name}, {reason}"))
    if rounded is not None and not allow_rounding:
        for i in np.flatnonzero(rounded.any(axis=1)).tolist():
            j = int(rounded[i].argmax())
            exact = f"is a whole number that float32 has as {rows[i, j]:.0f}"
            reason = exact if entity.is_plain else "has a whole number that float32 changes"
            problems.append((i, f"{entity.feature_of(j)} {reason} (see allow_rounding)"))
    if problems:
        raise InvalidRows(sorted(problems))
    return rows


def _not_finite(entity: FeatureGroup, row: npt.NDArray[np.float32], finite: npt.NDArray[np.bool_]) -> str:
    """Say what of a row cannot be stored; of what is only absent, what would let it."""
    column = int(np.argmin(finite))
    name = entity.feature_of(column)
    if np.isnan(row[column]):
        return f"{name} is NaN, and the schema does not say what that becomes (`missing: default` or `missing: nan`)"
    return f"{name} is not finite in float32"


def _may_be_nan(entity: FeatureGroup) -> Mask:
    """Return which columns may be NaN, shape (W,)."""
    allowed = np.isnan(entity.defaults)
    for feature in entity.features if not entity.is_plain else ():
        if "nan" in (feature.missing, feature.unknown):
            allowed[entity.slices[feature.name]] = True
    return allowed


def _typed(given: Table, n: int, entity: FeatureGroup) -> tuple[Matrix, Mask, list[tuple[int, str]]]:
    """Return what was handed over as columns, which rows have a number that float32 changes, and what is wrong."""
    columns = columns_of(given, entity.names)
    if columns is None:
        frame = any(feature.kind.stored.kind != "f" or feature.is_sequence for feature in entity.features)
        array = _array_of(given, n, entity.width, frame=frame)
        if frame:
            raise WrongMatrix(array.dtype, array.shape, n, entity.width, frame=True)
        if array.shape != (n, entity.width) or array.dtype.kind not in NUMBERS:
            raise WrongMatrix(array.dtype, array.shape, n, entity.width)
        slices = entity.slices
        columns = [array[:, slices[f.name]].reshape(n, *f.shape) for f in entity.features]
    rows = np.empty((n, entity.width), dtype=np.float32)
    rounded = np.zeros(rows.shape, dtype=np.bool_)
    problems: dict[int, str] = {}
    for feature, column in zip(entity.features, columns, strict=True):
        if len(column) != n:
            raise WrongColumn(feature.name, getattr(column, "dtype", type(column).__name__), (len(column),), n)
        at, found = entity.slices[feature.name], convert(feature, column)
        rows[:, at] = found.columns
        if found.rounded is not None:
            rounded[:, at.start] = found.rounded
        for i in found.absent:
            problems.setdefault(i, f"{feature.name} is missing, and the schema says of nothing that stands in")
        for i, reason in found.unusable.items():
            problems.setdefault(i, f"of {feature.name}, {reason}")
    unusable = list(problems)
    rows[unusable] = 0
    return rows, rounded, list(problems.items())


def _single(given: Table, n: int, entity: FeatureGroup) -> tuple[Matrix, Mask | None, list[tuple[int, str]]]:
    """Return what was handed over as float32, which of its numbers are whole and not the same there; no problems."""
    names = entity.names
    columns = columns_of(given, names)
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is found
        if columns is None:
            array = _array_of(given, n, len(names))
            if array.shape != (n, len(names)) or array.dtype.kind not in NUMBERS:
                raise WrongMatrix(array.dtype, array.shape, n, len(names))
            rounded = find_changed(array)
            if has_lost_digits(given, array):
                # Lists may mix whole numbers with others, and then these are no longer what they were.
                exact = [is_changed(x) if type(x) is int else False for x in np.asarray(given, dtype=object).flat]
                rounded = np.array(exact).reshape(array.shape) | (False if rounded is None else rounded)
            return _with_defaults(np.array(array, dtype=np.float32, order="C"), entity), rounded, []
        rows: Matrix = np.empty((n, len(names)), dtype=np.float32)
        found = np.zeros(rows.shape, dtype=np.bool_)
        for j, (feature, column) in enumerate(zip(entity.features, columns, strict=True)):
            rows[:, j], mask = _plain_column(feature, column, n)
            if mask is not None:
                found[:, j] = mask
        return _with_defaults(rows, entity), found if found.any() else None, []


def _array_of(given: Any, n: int, width: int, *, frame: bool = False) -> npt.NDArray[Any]:
    """Return what was handed over as an array; `frame` says whether only a data frame would do."""
    try:
        return array_of(given)
    except ValueError:  # lists of different lengths
        raise WrongMatrix("ragged", (n,), n, width, frame=frame) from None


def _plain_column(feature: Feature, given: Any, n: int) -> tuple[npt.NDArray[Any], Mask | None]:
    """Return n numbers of a data frame, NaN where there is none; and which are whole and not the same in float32."""
    column = array_of(given)
    lost = column.dtype.kind in NUMBERS and has_lost_digits(given, column)
    if column.shape == (n,) and column.dtype.kind in NUMBERS and not lost:
        return column, find_changed(column)
    # With None, decimals or booleans in it, or nothing at all.
    if column.shape == (n,) and (lost or column.dtype.kind == "O"):
        converted = convert(feature, given)
        if not converted.unusable:
            numbers = converted.columns[:, 0]
            numbers[converted.absent] = np.nan
            return numbers, converted.rounded
    raise WrongColumn(feature.name, column.dtype, column.shape, n)


def _with_defaults(rows: Matrix, entity: FeatureGroup) -> Matrix:
    """Put the default in the place of NaN where the schema says so of absent values, and return the rows."""
    for j, feature in enumerate(entity.features):
        if feature.missing == "default":
            rows[np.isnan(rows[:, j]), j] = entity.defaults[j]
    return rows


def id_problem(identifier: object) -> str | None:
    """Say why no request could name this id; None when one could."""
    if not isinstance(identifier, str):
        return "the id is no string"
    if not identifier:
        return "the id is empty"
    if len(identifier) > MAX_ID_LENGTH:
        return f"the id is longer than {MAX_ID_LENGTH} characters"
    if not identifier.isascii():
        try:
            identifier.encode()
        except UnicodeEncodeError:  # half of a surrogate pair
            return "the id is no valid Unicode"
    return None
