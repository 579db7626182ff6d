"""Parquet, CSV and Arrow files, read with pyarrow in batches. pyarrow is an extra: only `ranker features` needs it."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ranker.errors import FilesPackageMissing, UnreadableFile
from ranker.ingest.files.rows import NO_VALUE, NOT_A_NUMBER, WRONG_WIDTH, Block, Columns, Fault, Floats, Integers
from ranker.ingest.files.source import Source, reading
from ranker.vectors.rounding import EXACT, Mask, find_changed, is_changed

try:
    import pyarrow as pa
    from pyarrow import compute, ipc, parquet
    from pyarrow import csv as arrow_csv
except ImportError as error:
    pa, _why = None, str(error)

CSV_BLOCK_BYTES = 1 << 20
BUFFER_BYTES = 1 << 18
"""Read of each column at a time: a row group may be as large as the file."""
BOOLEANS = {"true": 1.0, "false": 0.0}


def open_parquet(path: Path, columns: Columns) -> Source:
    """Open a Parquet file."""
    with _arrow(path):
        file = parquet.ParquetFile(path)
        schema, rows = file.schema_arrow, file.metadata.num_rows
        file.close()
        ignored = _match(path, schema, columns)

    def batches() -> Iterator[Any]:
        with parquet.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False) as file:
            yield from file.iter_batches(columns.block_rows, columns=[columns.id, *columns.features])

    return Source(path, ignored, rows, lambda: _blocks(path, batches, columns))


def open_ipc(path: Path, columns: Columns) -> Source:
    """Open an Arrow file (Feather, version 2) or an Arrow stream."""
    with _arrow(path), path.open("rb") as file:
        seekable = file.read(6) == b"ARROW1"
        file.seek(0)
        schema = (ipc.open_file(file) if seekable else ipc.open_stream(file)).schema
        ignored = _match(path, schema, columns)

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


def open_csv(path: Path, columns: Columns) -> Source:
    """Open a CSV file with a header, compressed or not."""
    with _arrow(path):
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
    with _arrow(path):
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
                yield _block(part, numbers, columns)
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


def _blocks(path: Path, batches: Callable[[], Iterator[Any]], columns: Columns) -> Iterator[Block]:
    first = 1
    with _arrow(path):
        for batch in batches():
            yield _block(batch, np.arange(first, first + batch.num_rows), columns)
            first += batch.num_rows


def _block(batch: Any, numbers: Integers, columns: Columns) -> Block:
    faults: dict[int, Fault] = {}
    values = np.empty((batch.num_rows, len(columns.features)))
    rounded = np.zeros(values.shape, dtype=np.bool_)
    for j, name in enumerate(columns.features):
        column = batch.column(name)
        if column.null_count and name not in columns.may_be_nan:
            for i in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist():
                faults.setdefault(i, Fault(NO_VALUE, name))
        values[:, j] = _numbers(column, name, faults)
        if (found := _rounded(column, values[:, j])) is not None:
            rounded[:, j] = found
    ids = [text or "" for text in _texts(batch.column(columns.id))]
    return Block(numbers, ids, values, faults, rounded if rounded.any() else None)


def _rounded(column: Any, numbers: Floats) -> Mask | None:
    """Return which values are whole and not the same in float32, judged by the column and not by its float64."""
    if pa.types.is_floating(column.type):
        return find_changed(numbers)
    with np.errstate(invalid="ignore"):
        (beyond,) = (np.abs(numbers) > EXACT).nonzero()
    if not len(beyond):
        return None
    if pa.types.is_integer(column.type):
        return find_changed(compute.fill_null(column, 0).to_numpy())
    texts: list[Any] = _texts(column) if pa.types.is_string(column.type) else column.to_pylist()
    found = np.zeros(len(numbers), dtype=np.bool_)
    for i in beyond.tolist():
        found[i] = is_changed(texts[i])  # none is null, for a null is no large number
    return found


def _texts(column: Any) -> list[str | None]:
    """Return strings, or whole numbers as such; bytes that are no UTF-8 become halves of surrogate pairs."""
    # What a file says is a string is not checked by reading it.
    texts = compute.cast(column, pa.string())
    try:
        read: list[str | None] = texts.to_pylist()
    except UnicodeDecodeError:
        raw = compute.cast(texts, pa.binary()).to_pylist()
        read = [None if text is None else text.decode("utf-8", "surrogateescape") for text in raw]
    return read


def _numbers(column: Any, name: str, faults: dict[int, Fault]) -> Floats:
    try:
        # A float64 holds no integer beyond 2^53 exactly; which of them float32 changes is told by the column itself.
        numbers: Floats = compute.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return numbers
    except pa.ArrowInvalid:  # text that is no number somewhere
        parsed = np.zeros(len(column))
        for i, text in enumerate(_texts(column)):
            try:
                parsed[i] = np.nan if text is None else _number(text.strip())
            except ValueError:
                faults.setdefault(i, Fault(NOT_A_NUMBER, name))
        return parsed


def _number(text: str) -> float:
    if "_" in text or not text.isascii():  # Python's own notation
        raise ValueError(text)
    return BOOLEANS[text.lower()] if text.lower() in BOOLEANS else float(text)


def _match(path: Path, schema: Any, columns: Columns) -> tuple[str, ...]:
    """Check names and types, for a column of another type has not a single good row."""
    ignored = columns.match(path, schema.names)
    kinds = pa.types
    for name in columns.features:
        kind = schema.field(name).type
        if not any(test(kind) for test in (kinds.is_integer, kinds.is_floating, kinds.is_boolean, kinds.is_decimal)):
            raise UnreadableFile(path, f"the column {name} holds {kind}, not numbers")
    kind = schema.field(columns.id).type
    text = kind.value_type if kinds.is_dictionary(kind) else kind
    if not any(test(text) for test in (kinds.is_string, kinds.is_large_string, kinds.is_integer)):
        raise UnreadableFile(path, f"the id column {columns.id} holds {kind}, not strings or integers")
    return ignored


@contextmanager
def _arrow(path: Path) -> Iterator[None]:
    """Turn pyarrow's absence and its errors into ours."""
    if pa is None:
        raise FilesPackageMissing(path, _why)
    with reading(path):
        try:
            yield
        except pa.ArrowException as err:
            raise UnreadableFile(path, " ".join(str(err).split())[:300].rstrip(".")) from err
        except UnicodeDecodeError as err:
            raise UnreadableFile(path, "the names of its columns are no UTF-8; save it as UTF-8") from err
