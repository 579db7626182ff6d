"""Data frames to columns: matched with a schema by name, never by position; and what each column holds. Pure.

Knows pandas, polars and pyarrow by what they answer to, and imports none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ranker.errors import NoIds, WrongColumns, WrongIds
from ranker.vectors.rounding import DOUBLE_EXACT, EXACT

NUMBERS = "fiub"
"""The kinds of numpy's types that hold numbers."""
TIMES = "mM"
"""Those that hold times and durations."""
ABSENT = ("NAType", "NaTType")
"""Types of what pandas has in the place of a value that is absent."""
ARROW_FLOATS = {"halffloat": 2.0**11, "float": EXACT}
"""Floats of Arrow that are narrower than doubles, and the whole number up to which each holds every one."""


class Frame(Protocol):
    """A data frame: it gives a column for its name."""

    def __getitem__(self, name: Any, /) -> Any: ...


Table = Frame | npt.ArrayLike
"""Anything that holds n rows of features."""


def ids_of(given: Sequence[str], rows: Table) -> list[str]:
    """Return ids as a list, whether they come as one or as a column of a data frame.

    Args:
        given: The ids, one for each row.
        rows: What they are the ids of.

    Raises:
        WrongIds: they have no order, or their labels say that it is not that of the rows.
    """
    _refuse_what_is_no_list(given)
    to_pylist = getattr(given, "to_pylist", None)  # pyarrow's, whose elements are no strings
    ids = given if isinstance(given, list) else list(given if to_pylist is None else to_pylist())
    labels, others = _labels(rows), _labels(given)
    if labels is not None:
        _refuse_another_order(list(labels), ids if others is None else list(others))
    return ids


def _refuse_what_is_no_list(ids: Any) -> None:
    if isinstance(ids, set | frozenset):
        raise WrongIds("are a set, whose order is that of no rows: hand over a list, with one id for each row")
    if isinstance(ids, str | bytes):
        raise WrongIds("are one text: hand over a list, with one id for each row")
    if _names_or_none(ids) is not None:
        raise WrongIds("are a data frame: hand over its column with the ids")


def _refuse_another_order(labels: list[Any], others: list[Any]) -> None:
    """Refuse rows of pandas whose labels are those of the ids, or the ids themselves, in another order."""
    if labels != others and len(labels) == len(others) and set(labels) == set(others):
        raise WrongIds(
            "are the index of the data frame, or have it, in another order: hand over both in one order (what is in "
            "one already, with `reset_index(drop=True)`), or call write_frame"
        )


def _labels(given: Any) -> Any:
    """Return the index of what is of pandas; None for anything else, such as a list, whose `index` is a method."""
    index = getattr(given, "index", None)
    return index if hasattr(index, "equals") else None


def columns_of(given: Any, names: Sequence[str]) -> list[Any] | None:
    """Return a data frame's columns, as it holds them, in the order of `names`; None for what is no data frame.

    Args:
        given: A data frame has `column_names` (pyarrow's tables and batches) or `columns` (pandas, polars), and gives a
            column for its name.
        names: Of the columns wanted: all of them, and no others.

    Raises:
        WrongColumns: some are absent, there twice, or are there and not wanted.
    """
    there = _names_or_none(given)
    if there is None:
        return None
    missing = [name for name in names if name not in there]
    unknown = [name for name in there if name not in set(names)]
    repeated = [name for name in names if there.count(name) > 1]
    if missing or unknown or repeated:
        raise WrongColumns(missing, unknown, repeated, names)
    return [given[name] for name in names]


class WithoutIds:
    """A data frame without its column of ids.

    Args:
        frame: The data frame.
        id_column: The column of ids.
    """

    def __init__(self, frame: Any, id_column: str) -> None:
        self._frame = frame
        self.column_names = [name for name in names_in(frame) if name != id_column]

    def __getitem__(self, name: Any) -> Any:
        return self._frame[name]


def split_ids(frame: Any, id_column: str) -> tuple[list[str], WithoutIds]:
    """Return the ids of a data frame, and the rest of it.

    Args:
        frame: A data frame; its ids are a column or, in pandas, an index of that name. Whole numbers stand for their
            decimal text, as in requests.
        id_column: What they are called.

    Raises:
        NoIds: it has neither.
        WrongIds: it has several, which may differ.
    """
    index = _labels(frame)
    is_index = index is not None and index.name == id_column
    columns = names_in(frame).count(id_column)
    if columns > 1:
        raise WrongIds(f"are in {columns} columns called {id_column!r}: leave one")
    if not columns and not is_index:
        raise NoIds(id_column, names_in(frame))
    ids = texts_of(frame[id_column] if columns else index)
    if columns and is_index and texts_of(index) != ids:
        raise WrongIds(f"in the column {id_column!r} are not those in the index of that name: leave one")
    return ids, WithoutIds(frame, id_column)


def texts_of(ids: Any) -> list[str]:
    """Return ids as requests have them: of a whole number, its decimal text; what else is no text stays as it is.

    Raises:
        WrongIds: they are a data frame, or one text.
    """
    if not isinstance(ids, set | frozenset):  # to read by, any order will do
        _refuse_what_is_no_list(ids)
    plain = getattr(ids, "to_pylist", None) or getattr(ids, "tolist", None) or getattr(ids, "to_list", None)
    values = list(ids) if plain is None else plain()
    return [str(value) if isinstance(value, int) and not isinstance(value, bool) else value for value in values]


def names_in(frame: Any) -> list[str]:
    """Return the names of a frame's columns; those of a mapping are its keys."""
    names = _names_or_none(frame)
    return list(frame) if names is None else names


def _names_or_none(given: Any) -> list[str] | None:
    """Return the names of a data frame's columns; None for what is none."""
    for attribute in ("column_names", "columns"):
        if (names := getattr(given, attribute, None)) is not None:
            return list(names)
    return None


def array_of(column: Any) -> npt.NDArray[Any]:
    """Return what numpy makes of a column, an array or rows, without the values that it would make up.

    Of an Arrow dictionary it takes the last entry for what is absent; of a masked array, what is under the mask.
    """
    kind: Any = getattr(column, "type", None)
    if hasattr(kind, "index_type"):
        column = column.cast(kind.value_type)
    if isinstance(column, np.ma.MaskedArray) and np.ma.is_masked(column):
        as_float = column.dtype.kind in NUMBERS and np.abs(column.filled(0)).max() < DOUBLE_EXACT
        seen: npt.NDArray[Any] = column.data.astype(np.float64 if as_float else object)
        seen[np.ma.getmaskarray(column)] = np.nan if as_float else None
        return seen
    return np.asarray(column)


def has_lost_digits(column: Any, array: npt.NDArray[Any]) -> bool:
    """Return whether doubles that numpy made of a column may have been whole numbers beyond what a double holds."""
    if isinstance(column, np.ndarray) or array.dtype != np.float64:
        return False
    return bool((np.abs(array) >= DOUBLE_EXACT).any())


def find_whole_limit(column: Any, array: npt.NDArray[Any]) -> float | None:
    """Return the whole number up to which a column's floats hold each, where they are narrower than doubles.

    A number from beyond says no longer what it was: Unix seconds in float32 are off by up to 64 s.

    Args:
        column: The column.
        array: What numpy makes of it.
    """
    kind: Any = getattr(column, "type", None)
    while hasattr(kind, "value_type"):  # lists and dictionaries of Arrow
        kind = kind.value_type
    if str(kind) in ARROW_FLOATS:
        return ARROW_FLOATS[str(kind)]
    cells = [array] if array.dtype.kind != "O" else [cell for cell in array.flat if isinstance(cell, np.ndarray)]
    bits = [np.finfo(cell.dtype).nmant + 1 for cell in cells if cell.dtype.kind == "f" and cell.dtype.itemsize < 8]
    return 2.0 ** min(bits) if bits else None


def plain_values(column: Any) -> list[Any]:
    """Return n values as JSON would have them, whatever library holds them; times stay what they are."""
    plain = getattr(column, "to_pylist", None) or getattr(column, "tolist", None) or getattr(column, "to_list", None)
    # numpy makes whole numbers of times in nanoseconds.
    are_times = isinstance(column, np.ndarray) and column.dtype.kind in TIMES
    return list(map(_plain, list(column) if plain is None or are_times else plain()))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind not in TIMES:
            return value.tolist()
        return list(value) if isinstance(value, np.ndarray) else value
    return None if type(value).__name__ in ABSENT else value
