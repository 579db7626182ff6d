"""Columns of a file: which hold numbers, for a schema to begin with. Reads its first rows, and knows no schema."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ranker.errors import FilesPackageMissing, UnreadableFile

LOOKED_AT = 1000
"""Rows of a CSV file in which every value of a column must be a number, or empty."""
DELIMITERS = {".csv": ",", ".tsv": "\t"}


class FeatureColumns(NamedTuple):
    """Names of a file's columns but the id's, in their order.

    Attributes:
        numbers: Those that hold numbers.
        others: Those that hold something else.
    """

    numbers: list[str]
    others: list[str]


def feature_columns(path: Path, id_column: str) -> FeatureColumns:
    """Tell the columns of a CSV, TSV or Parquet file that can be features.

    Raises:
        UnreadableFile: it cannot be read, is of another kind, has no column `id_column`, or names a column twice.
        FilesPackageMissing: it is a Parquet file, and pyarrow is not installed.
    """
    try:
        if path.suffix in DELIMITERS:
            names, is_number = _look_into_csv(path)
        elif path.suffix == ".parquet":
            names, is_number = _look_into_parquet(path)
        else:
            raise UnreadableFile(path, "its name must end in .csv, .tsv or .parquet")
    except UnicodeDecodeError as err:
        raise UnreadableFile(path, "it is not written in UTF-8; save it so") from err
    except (OSError, csv.Error) as err:
        raise UnreadableFile(path, getattr(err, "strerror", None) or str(err)) from err
    if not names:
        raise UnreadableFile(path, "it is empty")
    if id_column not in names and len(names) == 1 and path.suffix in DELIMITERS:
        raise UnreadableFile(
            path,
            f"its first line has one field, {names[0]}: a .csv has commas between fields and a .tsv tabs, "
            f"so write it with those",
        )
    if id_column not in names:
        raise UnreadableFile(path, f"it has no column {id_column}, but {', '.join(names)}; --id-column names another")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UnreadableFile(path, f"it has two columns {', '.join(twice)}")
    kinds = [(name, number) for name, number in zip(names, is_number, strict=True) if name != id_column]
    return FeatureColumns([name for name, number in kinds if number], [name for name, number in kinds if not number])


def _look_into_csv(path: Path) -> tuple[list[str], list[bool]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, delimiter=DELIMITERS[path.suffix])
        names = next(rows, [])
        first = list(islice(rows, LOOKED_AT))
    return names, [_are_numbers([row[i] for row in first if i < len(row)]) for i in range(len(names))]


def _are_numbers(texts: Sequence[str]) -> bool:
    with suppress(ValueError):
        return bool([float(text) for text in texts if text])
    return False


def _look_into_parquet(path: Path) -> tuple[list[str], list[bool]]:
    try:
        import pyarrow
        from pyarrow import parquet
        from pyarrow.types import is_boolean, is_decimal, is_floating, is_integer
    except ImportError as err:
        raise FilesPackageMissing(path, str(err)) from err
    try:
        schema = parquet.read_schema(path)
    except pyarrow.ArrowException as err:
        raise UnreadableFile(path, str(err).rstrip(".")) from err
    tests = (is_floating, is_integer, is_boolean, is_decimal)
    return list(schema.names), [any(test(kind) for test in tests) for kind in schema.types]
