"""Arrow columns: ids as text and features as float64, of whatever type a writer gave them.

Owns which types of Arrow are taken, and what pyarrow's errors become. Knows nothing of files' formats. Imported late:
pyarrow is an extra, which only `ranker features` needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from ranker.errors import UnreadableFile
from ranker.ingest.files.rows import NO_VALUE, NOT_A_NUMBER, Block, Columns, Fault, Floats, Integers
from ranker.ingest.files.source import reading
from ranker.ingest.typed_columns import Converted, convert, convert_texts
from ranker.vectors.feature import Feature
from ranker.vectors.rounding import EXACT, Mask, find_changed, is_changed

BOOLEANS = {"true": 1.0, "false": 0.0}
UUID_BYTES = 16
NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null)
"""Kinds of a feature; a column of nulls is what a writer makes of one that has no value at all."""
LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view)
TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)


def match_columns(path: Path, schema: Any, columns: Columns) -> tuple[str, ...]:
    """Check names and types, for a column of another type has not a single good row; return the names not wanted.

    Raises:
        MissingColumns: a column is absent.
        UnreadableFile: a column is there twice, or holds no numbers or no ids.
    """
    ignored = columns.match(path, schema.names)
    for name, _ in columns.plain:
        kind = schema.field(name).type
        if not _is(_values(kind), *NUMBERS):
            way_out = "; a feature is one number, so give each element a column" if _is(kind, *LISTS) else ""
            raise UnreadableFile(path, f"the column {name} holds {kind}, not numbers{way_out}")
    kind = schema.field(columns.id).type
    held = _values(kind)
    whole = pa.types.is_integer(held) or (pa.types.is_decimal(held) and held.scale == 0)
    if not (whole or held == pa.uuid() or _is(held, *TEXTS, *BYTES)):
        way_out = ""
        if pa.types.is_floating(held):  # pandas has integers with gaps so
            way_out = "; write integers or text, for 7.0 may be 7 or have been another number"
        raise UnreadableFile(path, f"the id column {columns.id} holds {kind}, not strings or integers{way_out}")
    return ignored


def make_block(batch: Any, numbers: Integers, columns: Columns, *, are_texts: bool = False) -> Block:
    """Return n rows of a batch, whose numbers in their file are given, shape (n,); `are_texts` where it is of a CSV."""
    faults: dict[int, Fault] = {}
    values = np.empty((batch.num_rows, columns.width))
    rounded = np.zeros(values.shape, dtype=np.bool_)
    for name, j in columns.plain:
        column = batch.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if column.null_count and not columns.may_lack(name):
            for i in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist():
                faults.setdefault(i, Fault(NO_VALUE, name))
        values[:, j] = _numbers(column, name, faults)
        if (found := _rounded(column, values[:, j])) is not None:
            rounded[:, j] = found
    ids = [text or "" for text in _ids(batch.column(columns.id))]
    block = Block(numbers, ids, values, faults, rounded if rounded.any() else None)
    for feature, at in columns.typed:
        block.convert(feature, at, _typed(feature, batch.column(feature.name), are_texts=are_texts))
    return block


def _typed(feature: Feature, column: Any, *, are_texts: bool) -> Converted:
    """Convert a typed feature's column; vectors of numbers without gaps in a few operations."""
    if are_texts:
        return convert_texts(feature, _texts(column))
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if len(feature.shape) == 1 and _is(column.type, *LISTS) and not column.null_count and not feature.is_sequence:
        flat = column.flatten()
        lengths = compute.list_value_length(column)
        alike = len(column) and compute.all(compute.equal(lengths, feature.size)).as_py()
        if alike and not flat.null_count and _is(flat.type, pa.types.is_integer, pa.types.is_floating):
            return convert(feature, flat.to_numpy(zero_copy_only=False).reshape(len(column), feature.size))
    numeric = _is(column.type, pa.types.is_integer, pa.types.is_floating) and not column.null_count
    return convert(feature, column.to_numpy(zero_copy_only=False) if numeric else column)


@contextmanager
def translate_arrow_errors(path: Path) -> Iterator[None]:
    """Turn what pyarrow and the operating system say of a file into an UnreadableFile."""
    with reading(path):
        try:
            yield
        except pa.ArrowException as err:
            raise UnreadableFile(path, " ".join(str(err).split())[:300].rstrip(".")) from err
        except UnicodeDecodeError as err:
            raise UnreadableFile(path, "the names of its columns are no UTF-8; save it as UTF-8") from err


def _is(kind: Any, *tests: Any) -> bool:
    return any(test(kind) for test in tests)


def _values(kind: Any) -> Any:
    """Return the type of what is held, in a dictionary or not."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _ids(column: Any) -> list[str | None]:
    """Return ids as text: whole numbers as their digits, UUIDs in their usual form, other bytes as the UTF-8 they are.

    Sixteen bytes of fixed size that nothing says to be UUIDs are taken as such where they have the variant bits of RFC
    9562, which no ASCII text has.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        texts = _ids(column.dictionary)
        return [None if i is None else texts[i] for i in column.indices.to_pylist()]
    if kind == pa.uuid():
        return [None if raw is None else _uuid(raw) for raw in column.storage.to_pylist()]
    if pa.types.is_fixed_size_binary(kind):
        may_be_uuid = kind.byte_width == UUID_BYTES
        return [
            None if raw is None else _uuid(raw) if may_be_uuid and raw[8] >> 6 == 0b10 else _decoded(raw.rstrip(b"\0"))
            for raw in column.to_pylist()
        ]
    if _is(kind, *BYTES):
        return [None if raw is None else _decoded(raw) for raw in column.to_pylist()]
    return _texts(column)


def _uuid(raw: bytes) -> str:
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _decoded(raw: bytes) -> str:
    """Return bytes as text; those that are no UTF-8 become halves of surrogate pairs, which no id may have."""
    return raw.decode("utf-8", "surrogateescape")


def _texts(column: Any) -> list[str | None]:
    """Return strings, or whole numbers as such."""
    # What a file says is a string is not checked by reading it.
    texts = compute.cast(column, pa.string())
    try:
        read: list[str | None] = texts.to_pylist()
    except UnicodeDecodeError:
        read = [None if raw is None else _decoded(raw) for raw in compute.cast(texts, pa.binary()).to_pylist()]
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
