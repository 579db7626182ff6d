"""Format detection: opens a file of features with the reader for its name and its first bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ranker.errors import FilesPackageMissing, UnreadableFile
from ranker.ingest.files.dialect import Dialect
from ranker.ingest.files.json_lines import open_json_lines
from ranker.ingest.files.rows import Columns
from ranker.ingest.files.source import Source

PARQUET = (".parquet",)
ARROW = (".arrow", ".arrows", ".feather", ".ipc")
CSV = (".csv", ".tsv")
USUAL = Dialect()


def open_source(path: Path, columns: Columns, dialect: Dialect = USUAL) -> Source:
    """Open a file by its name's ending.

    Args:
        path: The file.
        columns: What is wanted of it.
        dialect: How it is written, where it is text.

    Raises:
        UnreadableFile: it is absent, of an unknown format, or damaged.
        MissingColumns: a column is absent.
        FilesPackageMissing: the format needs pyarrow, which is not installed.
    """
    suffixes = [s.lower() for s in path.suffixes]
    kind = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else suffixes[-1] if suffixes else ""
    if not path.is_file():
        raise UnreadableFile(path, "there is no such file" if not path.exists() else "it is no regular file")
    if kind in (".jsonl", ".ndjson"):
        return open_json_lines(path, columns, dialect)
    if kind == ".npz":
        from ranker.ingest.files.npz import open_npz

        return open_npz(path, columns)
    if kind not in (*CSV, *PARQUET, *ARROW):
        raise UnreadableFile(
            path, "its name ends in none of .parquet, .csv, .tsv, .jsonl, .ndjson, .arrow, .feather, .npz"
        )
    try:  # pyarrow is an extra
        from ranker.ingest.files import arrow, delimited
    except ImportError as err:
        raise FilesPackageMissing(path, str(err)) from err
    if kind in CSV:
        usual = "\t" if kind == ".tsv" else ","
        return delimited.open_csv(path, columns, replace(dialect, delimiter=dialect.delimiter or usual))
    return (arrow.open_parquet if kind in PARQUET else arrow.open_ipc)(path, columns)
