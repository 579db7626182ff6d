"""Data frames to columns: whatever has named columns is matched with a schema by name, never by position. Pure.

Knows pandas, polars and pyarrow by what they answer to, and imports none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy.typing as npt

from ranker.errors import NoIds, WrongColumns


class Frame(Protocol):
    """A data frame: it gives a column for its name."""

    def __getitem__(self, name: Any, /) -> Any: ...


Table = Frame | npt.ArrayLike
"""Anything that holds n rows of features."""


def ids_of(given: Sequence[str]) -> list[str]:
    """Return ids as a list, whether they come as one or as a column of a data frame."""
    if isinstance(given, list):
        return given
    to_pylist = getattr(given, "to_pylist", None)  # pyarrow's, whose elements are no strings
    return list(given) if to_pylist is None else list(to_pylist())


def columns_of(given: Any, names: Sequence[str]) -> list[Any] | None:
    """Return a data frame's columns, as it holds them, in the order of `names`; None for what is no data frame.

    Args:
        given: A data frame has `column_names` (pyarrow's tables and batches) or `columns` (pandas, polars), and gives a
            column for its name.
        names: Of the columns wanted: all of them, and no others.

    Raises:
        WrongColumns: some are absent, there twice, or are there and not wanted.
    """
    present = getattr(given, "column_names", None)
    if present is None:
        present = getattr(given, "columns", None)
    if present is None:
        return None
    there = list(present)
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
    """
    index = getattr(frame, "index", None)
    if id_column in names_in(frame):
        column = frame[id_column]
    elif getattr(index, "name", None) == id_column:
        column = index
    else:
        raise NoIds(id_column, names_in(frame))
    return texts_of(column), WithoutIds(frame, id_column)


def texts_of(ids: Any) -> list[str]:
    """Return ids as requests have them: of a whole number, its decimal text; what else is no text stays as it is."""
    plain = getattr(ids, "to_pylist", None) or getattr(ids, "tolist", None) or getattr(ids, "to_list", None)
    values = list(ids) if plain is None else plain()
    return [str(value) if isinstance(value, int) and not isinstance(value, bool) else value for value in values]


def names_in(frame: Any) -> list[str]:
    """Return the names of a frame's columns; those of a mapping are its keys."""
    for attribute in ("column_names", "columns"):
        if (names := getattr(frame, attribute, None)) is not None:
            return list(names)
    return list(frame)
