"""CSV reader: rows of text, whose numbers are parsed here so that one that is none ends no reading."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from ranker.ingest.files.arrow_columns import make_block, translate_arrow_errors
from ranker.ingest.files.rows import WRONG_WIDTH, Block, Columns, Fault
from ranker.ingest.files.source import Source

CSV_BLOCK_BYTES = 1 << 20


def open_csv(path: Path, columns: Columns) -> Source:
    """Open a CSV file with a header, compressed or not."""
    with translate_arrow_errors(path):
        reader = _csv_reader(path, lambda _: "skip")
        present = list(reader.schema.names)
        reader.close()
    ignored = columns.match(path, present)
    return Source(path, ignored, None, lambda: _csv_blocks(path, present, columns))


def _csv_blocks(path: Path, present: Sequence[str], columns: Columns) -> Iterator[Block]:
    ragged: deque[tuple[int, str]] = deque()

    def set_aside(row: Any) -> str:
        fields = next(csv.reader([row.text]), [])
        at = present.index(columns.id)
        # Lines count from 1, and the header is the first.
        ragged.append((row.number - 1, fields[at] if at < len(fields) else ""))
        return "skip"

    first = 1
    with translate_arrow_errors(path):
        for batch in _csv_reader(path, set_aside, present, columns):
            for start in range(0, batch.num_rows, columns.block_rows):
                part = batch.slice(start, columns.block_rows)
                end = first + part.num_rows
                aside: list[tuple[int, str]] = []
                while ragged and ragged[0][0] <= end:  # it stands among or right behind these rows
                    aside.append(ragged.popleft())
                    end += 1
                numbers = np.setdiff1d(np.arange(first, end), [number for number, _ in aside])
                first = end
                yield make_block(part, numbers, columns)
                if aside:
                    yield _ragged_block(aside, columns)
    if ragged:
        yield _ragged_block(list(ragged), columns)


def _ragged_block(rows: Sequence[tuple[int, str]], columns: Columns) -> Block:
    faults = dict.fromkeys(range(len(rows)), Fault(WRONG_WIDTH))
    values = np.zeros((len(rows), len(columns.features)))
    return Block(np.array([number for number, _ in rows]), [identifier for _, identifier in rows], values, faults)


def _csv_reader(
    path: Path, on_ragged: Callable[[Any], str], present: Sequence[str] = (), columns: Columns | None = None
) -> Any:
    """Read a CSV file as text: a value that is no number must not end the reading."""
    convert = {} if columns is None else {"include_columns": [columns.id, *columns.features]}
    return arrow_csv.open_csv(
        pa.input_stream(str(path), compression="detect"),
        # Only a single thread knows the number of a row it sets aside.
        read_options=arrow_csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES),
        parse_options=arrow_csv.ParseOptions(invalid_row_handler=on_ragged, newlines_in_values=False),
        convert_options=arrow_csv.ConvertOptions(
            # What is no UTF-8 is at fault by itself, not the whole file.
            check_utf8=False,
            column_types=dict.fromkeys(present, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
            **convert,
        ),
    )
