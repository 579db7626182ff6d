"""Parquet and Arrow file readers: pyarrow's batches as blocks of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import ipc, parquet

from ranker.ingest.files.arrow_columns import make_block, match_columns, translate_arrow_errors
from ranker.ingest.files.rows import Block, Columns
from ranker.ingest.files.source import Source

BUFFER_BYTES = 1 << 18
"""Bytes of a column that are read at a time: a row group may be as large as the file."""


def open_parquet(path: Path, columns: Columns) -> Source:
    """Open a Parquet file."""
    with translate_arrow_errors(path):
        file = parquet.ParquetFile(path)
        schema, rows = file.schema_arrow, file.metadata.num_rows
        file.close()
        ignored = match_columns(path, schema, columns)

    def batches() -> Iterator[Any]:
        with parquet.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False) as file:
            yield from file.iter_batches(columns.block_rows, columns=[columns.id, *columns.features])

    return Source(path, ignored, rows, lambda: _blocks(path, batches, columns))


def open_ipc(path: Path, columns: Columns) -> Source:
    """Open an Arrow file (Feather, version 2) or an Arrow stream."""
    with translate_arrow_errors(path), path.open("rb") as file:
        seekable = file.read(6) == b"ARROW1"
        file.seek(0)
        schema = (ipc.open_file(file) if seekable else ipc.open_stream(file)).schema
        ignored = match_columns(path, schema, columns)

    def batches() -> Iterator[Any]:
        with pa.memory_map(str(path)) as file:
            if seekable:
                reader = ipc.open_file(file)
                whole: Iterator[Any] = (reader.get_batch(i) for i in range(reader.num_record_batches))
            else:
                whole = iter(ipc.open_stream(file))
            for batch in whole:
                for start in range(0, batch.num_rows, columns.block_rows):
                    yield batch.slice(start, columns.block_rows)

    return Source(path, ignored, None, lambda: _blocks(path, batches, columns))


def _blocks(path: Path, batches: Callable[[], Iterator[Any]], columns: Columns) -> Iterator[Block]:
    first = 1
    with translate_arrow_errors(path):
        for batch in batches():
            yield make_block(batch, np.arange(first, first + batch.num_rows), columns)
            first += batch.num_rows
