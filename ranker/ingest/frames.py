"""Data frames to columns: whatever has named columns is matched with a schema by name, never by position. Pure.

Knows pandas, polars and pyarrow by what they answer to, and imports none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ranker.errors import WrongColumns


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


def columns_of(given: Any, names: Sequence[str]) -> list[npt.NDArray[Any]] | None:
    """Return a data frame's columns in the order of `names`; None for what is no data frame.

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
    return [np.asarray(given[name]) for name in names]
