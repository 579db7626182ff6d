"""Table file: blocks of columns to a Parquet or CSV file, whole or not at all. Imported late: pyarrow is an extra."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ranker.errors import UnwritableFile

INSTALL = "Install 'bento-ranker[files]'."
Block = dict[str, Any]
"""Name → n values."""


def write_table(blocks: Iterable[Block], path: Path) -> int:
    """Write blocks with the same columns to a file that takes its name when it is whole; return how many rows it has.

    Nothing is written where there are no rows.

    Raises:
        UnwritableFile: it cannot be written, is called neither .parquet nor .csv, or pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import csv, parquet
    except ImportError as err:
        raise UnwritableFile(path, f"that needs the package pyarrow ({err})", INSTALL) from err
    writers: dict[str, Callable[..., Any]] = {".parquet": parquet.ParquetWriter, ".csv": csv.CSVWriter}
    make_writer = writers.get(path.suffix.lower())
    if make_writer is None:
        raise UnwritableFile(path, "its name ends neither in .parquet nor in .csv", "Choose such a name.")
    unfinished, rows = path.with_name(f".{path.name}.{os.getpid()}"), 0
    try:
        with ExitStack() as stack:
            writer = None
            for block in blocks:
                if writer is None:
                    schema = pa.schema([(name, _type(pa, name, column)) for name, column in block.items()])
                    stack.callback(unfinished.unlink, missing_ok=True)
                    writer = stack.enter_context(make_writer(str(unfinished), schema))
                table = pa.table([pa.array(block[field.name], field.type) for field in schema], schema)
                writer.write_table(table)
                rows += table.num_rows
            if writer is not None:
                writer.close()
                unfinished.replace(path)
    except (OSError, pa.ArrowException) as err:
        reason = " ".join(str(err).split()).rstrip(".")
        raise UnwritableFile(path, reason, "Mend its folder or its rights, make room there, or name another.") from err
    return rows


def _type(pa: Any, name: str, column: Any) -> Any:
    """Return a column's type, whatever the values of the first block are: some are null there."""
    if name == "time":
        return pa.timestamp("us", tz="UTC")
    if isinstance(column, list):
        return pa.infer_type(column)
    return pa.string() if column.dtype == object else pa.from_numpy_dtype(column.dtype)
