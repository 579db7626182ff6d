"""Validation of rows and ids before they are stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ranker.errors import ForeignFormat, InvalidRows, WrongColumn, WrongMatrix
from ranker.ingest.frames import Table, columns_of
from ranker.vectors.group import EntitySchema
from ranker.vectors.rounding import DOUBLE_EXACT, Mask, find_changed, is_changed
from ranker.vectors.rows import MAX_ID_LENGTH, Matrix

NUMBERS = "fiub"
"""The kinds of numpy's types that hold numbers."""


def refuse_foreign_format(entity: EntitySchema) -> None:
    """Make sure that version-1 vectors are what the service would read.

    Raises:
        ForeignFormat: the schema declares another format.
    """
    if entity.format != "ranker":
        raise ForeignFormat(entity.key, entity.format)


def check_rows(ids: Sequence[str], given: Table, entity: EntitySchema, *, allow_rounding: bool = False) -> Matrix:
    """Return rows as float32, shape (n, W), when every one can be stored.

    Args:
        ids: n ids.
        given: A data frame with a column for each feature, or what numpy makes an array of shape (n, W) of.
        entity: What the W features are, in their order; one whose default is NaN may have NaN.
        allow_rounding: Whether whole numbers that float32 changes are taken as it has them.

    Raises:
        InvalidRows: an id is no string of 1 to 256 characters, or a number is not finite in float32, or whole and not
            the same there.
        WrongColumns, WrongColumn: a data frame's columns are others, or one is not n numbers.
        WrongMatrix: it has another shape, or holds something else than numbers.
    """
    rows, rounded = _single(given, len(ids), entity.names)
    problems = [(i, reason) for i, identifier in enumerate(ids) if (reason := id_problem(identifier))]
    finite = np.isfinite(rows) | (np.isnan(rows) & np.isnan(entity.defaults))
    if not finite.all():
        problems += [(int(i), "a number is not finite in float32") for i in np.flatnonzero(~finite.all(axis=1))]
    if rounded is not None and not allow_rounding:
        for i in np.flatnonzero(rounded.any(axis=1)).tolist():
            j = int(rounded[i].argmax())
            problems.append(
                (i, f"{entity.names[j]} is a whole number that float32 has as {rows[i, j]:.0f} (see allow_rounding)")
            )
    if problems:
        raise InvalidRows(sorted(problems))
    return rows


def _single(given: Table, n: int, names: Sequence[str]) -> tuple[Matrix, Mask | None]:
    """Return what was handed over as float32, and which of its numbers are whole and not the same there."""
    columns = columns_of(given, names)
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is found
        if columns is None:
            try:
                array = np.asarray(given)
            except ValueError:  # lists of different lengths
                raise WrongMatrix("ragged", (n,), n, len(names)) from None
            if array.shape != (n, len(names)) or array.dtype.kind not in NUMBERS:
                raise WrongMatrix(array.dtype, array.shape, n, len(names))
            rounded = find_changed(array)
            if array.dtype == np.float64 and not isinstance(given, np.ndarray) and (array >= DOUBLE_EXACT).any():
                # Lists may mix whole numbers with others, and then these are no longer what they were.
                exact = [is_changed(x) if type(x) is int else False for x in np.asarray(given, dtype=object).flat]
                rounded = np.array(exact).reshape(array.shape) | (False if rounded is None else rounded)
            return np.ascontiguousarray(array, dtype=np.float32), rounded
        rows: Matrix = np.empty((n, len(names)), dtype=np.float32)
        found = np.zeros(rows.shape, dtype=np.bool_)
        for j, (name, column) in enumerate(zip(names, columns, strict=True)):
            if column.shape != (n,) or column.dtype.kind not in NUMBERS:
                raise WrongColumn(name, column.dtype, column.shape, n)
            rows[:, j] = column
            if (mask := find_changed(column)) is not None:
                found[:, j] = mask
        return rows, found if found.any() else None


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
