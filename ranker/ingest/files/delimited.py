"""CSV reader: rows of text, whose numbers are parsed here so that one that is none ends no reading."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import RawIOBase
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute
from pyarrow import csv as arrow_csv

from ranker.errors import MissingColumns, UnreadableFile
from ranker.ingest.files.arrow_columns import make_block, translate_arrow_errors
from ranker.ingest.files.dialect import Dialect, advise, decodes, split_rows
from ranker.ingest.files.quotes import QuoteCheck
from ranker.ingest.files.rows import WRONG_WIDTH, Block, Columns, Fault
from ranker.ingest.files.source import SAMPLE_BYTES, Source, open_bytes, reading

CSV_BLOCK_BYTES = 1 << 20
LAST_ROW = "\0ranker: the end"
"""Row of too few fields that is put behind a file's. Where a quotation mark is never closed, which pyarrow lets pass,
it is a part of the last row, and is not seen."""
UNCLOSED = f"a row is longer than {CSV_BLOCK_BYTES >> 20} MiB, or a quotation mark in it is never closed"
SWALLOWED = (
    "on line {}, a quotation mark opens a field that would take all up to the middle of another one, lines further; in "
    "a field in quotation marks write them twice"
)


def open_csv(path: Path, columns: Columns, dialect: Dialect) -> Source:
    """Open a CSV file with a header, compressed or not.

    Raises:
        UnreadableFile: it is damaged, or written otherwise than `dialect` says; the message names the options that
            would do.
        MissingColumns: a column is absent.
    """
    with reading(path), open_bytes(path) as file:
        sample = file.read(SAMPLE_BYTES)
    if not sample:
        raise UnreadableFile(path, "it is empty")
    advice = advise(sample, columns, dialect)
    try:
        header = sample.partition(b"\n")[0]
        # pyarrow would say so beside the point, or on standard error.
        if not decodes(header, dialect.encoding) or (dialect.is_utf_8 and b"\0" in header):
            raise UnreadableFile(path, _foreign(dialect))
        with _translate_csv_errors(path, dialect), _batches(path, dialect, lambda _: "skip") as reader:
            present = list(reader.schema.names)
        ignored = columns.match(path, present)
    except UnreadableFile as err:
        raise UnreadableFile(path, f"{err.reason}; {advice}") if advice else err from err.__cause__
    except MissingColumns as err:
        if not advice:
            raise
        raise UnreadableFile(path, f"it lacks the column(s) {', '.join(err.columns[:8])}; {advice}") from err
    return Source(path, ignored, None, lambda: _csv_blocks(path, present, columns, dialect), advice)


def _csv_blocks(path: Path, present: Sequence[str], columns: Columns, dialect: Dialect) -> Iterator[Block]:
    ragged: deque[tuple[int, str]] = deque()
    ended = False

    def set_aside(row: Any) -> str:
        nonlocal ended
        if row.text == LAST_ROW:
            ended = True
            return "skip"
        (fields,) = split_rows([row.text], dialect.delimiter or ",")
        at = present.index(columns.id)
        # Lines count from 1, and the header is the first.
        ragged.append((row.number - 1, fields[at] if at < len(fields) else ""))
        return "skip"

    first = 1
    with _translate_csv_errors(path, dialect), _batches(path, dialect, set_aside, present, columns) as batches:
        for batch in batches:
            if dialect.decimal == ",":
                batch = _with_points(batch, columns)
            for start in range(0, batch.num_rows, columns.block_rows):
                part = batch.slice(start, columns.block_rows)
                end = first + part.num_rows
                aside: list[tuple[int, str]] = []
                while ragged and ragged[0][0] <= end:  # it stands among or right behind these rows
                    aside.append(ragged.popleft())
                    end += 1
                numbers = np.setdiff1d(np.arange(first, end), [number for number, _ in aside])
                first = end
                yield make_block(part, numbers, columns, are_texts=True)
                if aside:
                    yield _ragged_block(aside, columns)
    if not ended:
        raise UnreadableFile(path, UNCLOSED)
    if ragged:
        yield _ragged_block(list(ragged), columns)


def _ragged_block(rows: Sequence[tuple[int, str]], columns: Columns) -> Block:
    faults = dict.fromkeys(range(len(rows)), Fault(WRONG_WIDTH))
    values = np.zeros((len(rows), columns.width))
    return Block(np.array([number for number, _ in rows]), [identifier for _, identifier in rows], values, faults)


@contextmanager
def _batches(
    path: Path,
    dialect: Dialect,
    on_ragged: Callable[[Any], str],
    present: Sequence[str] = (),
    columns: Columns | None = None,
) -> Iterator[Any]:
    """Read a CSV file within the block, and have nothing read ahead after it.

    pyarrow reads ahead in a thread, through a Python object. Left to itself where reading ends early, that thread waits
    for the GIL of a process that is about to end, and the process for the thread: for ever, now and then.
    """
    rows = _Utf8Rows(path, dialect)
    reader = _csv_reader(rows, dialect, on_ragged, present, columns)
    try:
        yield reader
    finally:
        rows.close()  # so that a read under way is the last
        with suppress(pa.ArrowException, ValueError, OSError):
            for _ in reader:
                pass


def _csv_reader(
    rows: _Utf8Rows, dialect: Dialect, on_ragged: Callable[[Any], str], present: Sequence[str], columns: Columns | None
) -> Any:
    """Read CSV as text: a value that is no number must not end the reading."""
    convert = {} if columns is None else {"include_columns": [columns.id, *columns.features]}
    return arrow_csv.open_csv(
        pa.input_stream(rows),
        read_options=arrow_csv.ReadOptions(
            use_threads=False,  # only a single thread knows the number of a row it sets aside
            block_size=CSV_BLOCK_BYTES,
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=dialect.delimiter or ",", invalid_row_handler=on_ragged, newlines_in_values=True
        ),
        convert_options=arrow_csv.ConvertOptions(
            # What is no UTF-8 is at fault by itself, not the whole file.
            check_utf8=False,
            column_types=dict.fromkeys(present, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
            **convert,
        ),
    )


class _Utf8Rows(RawIOBase):
    """A file as UTF-8, with a last row of ours. What is said to be UTF-8 is not looked at: its rows are, one by one."""

    def __init__(self, path: Path, dialect: Dialect) -> None:
        self._path, self._file = path, open_bytes(path)
        decoder = codecs.getincrementaldecoder(dialect.encoding)()
        self._decode = None if dialect.is_utf_8 else decoder.decode
        self._quotes = QuoteCheck((dialect.delimiter or ",").encode())
        self._ended = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = b""
        while not data and not self._ended:  # a codec may need more than it was given
            raw = self._file.read(size)
            data = raw if self._decode is None else self._decode(raw, not raw).encode()
            if not raw:
                self._ended = True
                data += f"\n{LAST_ROW}\n".encode()
        if (line := self._quotes.find(data)) is not None:
            raise UnreadableFile(self._path, SWALLOWED.format(line))
        return data

    def close(self) -> None:
        self._file.close()
        super().close()


def _foreign(dialect: Dialect) -> str:
    return f"it is not written in {dialect.encoding} (--encoding)"


def _with_points(batch: Any, columns: Columns) -> Any:
    """Return a batch whose numbers with decimal commas are as they are parsed.

    A point becomes what no number has: 1.234 would be one and a fraction, where it may be meant to be a thousand.
    """
    numbers = [f for f, _ in columns.typed if f.type not in ("category", "text")]
    scalars = [f.name for f in numbers if not f.shape and not f.is_sequence]  # the others are JSON arrays
    for name in [*(name for name, _ in columns.plain), *scalars]:
        texts = compute.replace_substring(batch.column(name), ".", "_")
        texts = compute.replace_substring(texts, ",", ".")
        batch = batch.set_column(batch.schema.get_field_index(name), name, texts)
    return batch


@contextmanager
def _translate_csv_errors(path: Path, dialect: Dialect) -> Iterator[None]:
    with translate_arrow_errors(path):
        try:
            yield
        except UnicodeError as err:
            raise UnreadableFile(path, _foreign(dialect)) from err
        except pa.ArrowInvalid as err:
            if "straddling" not in str(err):
                raise
            raise UnreadableFile(path, UNCLOSED) from err
