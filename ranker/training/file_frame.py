"""File as a frame: columns by name of a Parquet, CSV or JSON Lines file that fits into memory.

Owns what its cells become. For the millions of rows of a catalogue there is `ranker.ingest`, block by block.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from ranker.errors import FilesPackageMissing, UnreadableFile
from ranker.vectors.bounded_file import read_bounded

MAX_BYTES = 256 << 20
JSON_LINES = (".jsonl", ".ndjson", ".json")


def read_frame(path: Path) -> Mapping[str, Any]:
    """Read a file; a cell of text that is a JSON array becomes a list.

    Raises:
        UnreadableFile: it cannot be read, or its rows have different columns.
        FilesPackageMissing: the package pyarrow is needed and not installed.
    """
    try:
        content = read_bounded(path, MAX_BYTES)
    except OSError as err:
        raise UnreadableFile(path, str(err.strerror or err)) from err
    return _json_lines(path, content) if path.suffix.lower() in JSON_LINES else _table(path, content)


def _json_lines(path: Path, content: bytes) -> Mapping[str, Any]:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            try:
                rows.append(dict(orjson.loads(line)))
            except (ValueError, TypeError) as err:
                raise UnreadableFile(path, f"line {number} is no JSON object") from err
    if not rows:
        raise UnreadableFile(path, "it is empty")
    return {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}


def _table(path: Path, content: bytes) -> Mapping[str, Any]:
    try:
        import pyarrow as pa
        from pyarrow import csv, parquet
    except ImportError as err:
        raise FilesPackageMissing(path, str(err)) from err
    try:
        if content.startswith(b"PAR1"):
            table = parquet.read_table(pa.BufferReader(content))
        else:
            delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
            table = csv.read_csv(pa.BufferReader(content), parse_options=csv.ParseOptions(delimiter=delimiter))
    except pa.ArrowException as err:
        reason = str(err).partition("\n")[0].rstrip(".")  # which may quote the file, whatever is in it
        raise UnreadableFile(path, "".join(c if c.isprintable() else "?" for c in reason)) from err
    return {name: _column(table[name]) for name in table.column_names}


def _column(column: Any) -> Any:
    """Return a column, its texts as lists where all of them are JSON arrays."""
    values = column.to_pylist() if "string" in str(column.type) else None
    if values is None or not all(value is None or value.startswith("[") for value in values):
        return column
    try:
        return [None if value is None else orjson.loads(value) for value in values]
    except orjson.JSONDecodeError:
        return column
