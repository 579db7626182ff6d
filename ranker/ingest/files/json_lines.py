"""JSON Lines reader: one object a line, plain or gzipped, in blocks of rows.

As every reader, it gives blocks of bounded size, so that a file of any size takes the same memory. What one row has
wrong is in its block, and what a whole file has wrong is raised. Knows nothing of Redis.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from io import TextIOWrapper
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson

from ranker.errors import UnreadableFile
from ranker.ingest.files.dialect import Dialect, advise
from ranker.ingest.files.rows import (
    LIST,
    NO_ID,
    NO_OBJECT,
    NO_VALUE,
    NOT_A_NUMBER,
    REPEATED,
    TOO_LARGE,
    Block,
    Columns,
    Fault,
    Floats,
)
from ranker.ingest.files.source import SAMPLE_BYTES, Source, open_bytes, reading
from ranker.ingest.typed_columns import convert
from ranker.vectors.rounding import EXACT, Mask, is_changed

_NAME = re.compile(rb'"\s*:')


def open_json_lines(path: Path, columns: Columns, dialect: Dialect) -> Source:
    """Open a file of JSON Lines.

    Raises:
        UnreadableFile: it is damaged, or of another encoding than `dialect` says; the message names one that would do.
    """
    with reading(path), open_bytes(path) as file:
        advice = advise(file.read(SAMPLE_BYTES), None, dialect)
    with _open_lines(path, dialect) as lines:
        first = next(lines, (0, b"{}"))[1]
    present = _parse(first)
    if not isinstance(present, dict):
        if advice:
            raise UnreadableFile(path, f"its first line is no JSON object; {advice}")
        present = {}
    wanted = {columns.id, *columns.features}
    ignored = tuple(name for name in present if name not in wanted)
    return Source(path, ignored, None, lambda: _json_blocks(path, columns, dialect), advice)


def _json_blocks(path: Path, columns: Columns, dialect: Dialect) -> Iterator[Block]:
    with _open_lines(path, dialect) as lines:
        while chunk := list(islice(lines, columns.block_rows)):
            yield _json_block(chunk, columns)


def _json_block(chunk: Sequence[tuple[int, bytes]], columns: Columns) -> Block:
    faults: dict[int, Fault] = {}
    objects: list[dict[str, Any]] = []
    wanted = {columns.id, *columns.features}
    for i, (_, line) in enumerate(chunk):
        parsed = _parse(line)
        if not isinstance(parsed, dict):
            faults[i] = Fault(NO_OBJECT)
        elif (name := _repeated(line, parsed, wanted)) is not None:
            faults[i] = Fault(REPEATED, name)
        objects.append(parsed if isinstance(parsed, dict) else {})
    values = np.empty((len(chunk), columns.width))
    for i in range(len(chunk)) if not _fill(values, objects, columns) else ():
        for name, j in columns.plain:
            value = objects[i].get(name)
            if type(value) in (int, float, bool):
                try:
                    values[i, j] = value
                except OverflowError:  # a whole number beyond a double, which the standard library has read
                    faults.setdefault(i, Fault(TOO_LARGE, name))
            elif value is None and columns.may_lack(name):
                values[i, j] = np.nan
            elif i not in faults:
                reason = NO_VALUE if value is None else LIST if isinstance(value, list) else NOT_A_NUMBER
                faults[i] = Fault(reason, name)
    ids: list[str] = []
    for i, parsed in enumerate(objects):
        identifier = _identifier(parsed.get(columns.id))
        if identifier is None:
            identifier, fault = _exact_identifier(chunk[i][1], columns.id)
            if fault is not None:
                faults.setdefault(i, fault)
        ids.append(identifier)
    rounded = _rounded(values, [line for _, line in chunk], faults, columns)
    block = Block(np.array([number for number, _ in chunk]), ids, values, faults, rounded)
    for feature, at in columns.typed:
        block.convert(feature, at, convert(feature, [parsed.get(feature.name) for parsed in objects]))
    return block


def _rounded(values: Floats, lines: Sequence[bytes], faults: Mapping[int, Fault], columns: Columns) -> Mask | None:
    """Return which numbers are whole and not the same in float32; what a line has wrong has been told."""
    beyond = np.zeros(values.shape, dtype=np.bool_)
    plain = [j for _, j in columns.plain]
    with np.errstate(invalid="ignore"):  # rows at fault hold anything
        beyond[:, plain] = np.abs(values[:, plain]) > EXACT
    beyond[list(faults)] = False
    for i in np.flatnonzero(beyond.any(axis=1)).tolist():
        parsed = _parse_exactly(lines[i])
        for j in np.flatnonzero(beyond[i]).tolist():
            number = parsed[columns.feature_of(j)]
            beyond[i, j] = is_changed(number if isinstance(number, Decimal) else str(number))
    return beyond if beyond.any() else None


def _fill(values: Any, objects: Sequence[dict[str, Any]], columns: Columns) -> bool:
    """Fill a block at once; return whether that was possible, for it is not when a value is missing or no number."""
    if columns.entity is not None:
        return False
    get = itemgetter(*columns.features)
    try:
        table = np.array([get(parsed) for parsed in objects])
    except (KeyError, ValueError, OverflowError):
        return False
    # A list in the place of every number would be one more dimension.
    if table.dtype.kind not in "fiub" or table.shape != (values.shape if len(columns.features) > 1 else (len(values),)):
        return False
    values[:] = table.reshape(values.shape)
    return True


def _parse(line: bytes) -> Any:
    """Parse a line; None when it is no JSON. The standard library also takes NaN, which is then reported as such."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        with suppress(ValueError, RecursionError):
            return json.loads(line)
    return None


def _repeated(line: bytes, parsed: Mapping[str, Any], wanted: Collection[str]) -> str | None:
    """Return a wanted name that an object has more than once; parsing has kept the last value alone."""
    # What makes sure is slow, and seldom asked: colons, and names, are at least as many as the keys.
    if line.count(b":") <= len(parsed) or len(_NAME.findall(line)) <= len(parsed):
        return None
    pairs: list[tuple[str, Any]] = []

    def keep(of_one: list[tuple[str, Any]]) -> None:
        pairs[:] = of_one  # those of the outermost object come last

    with suppress(RecursionError):
        json.loads(line, object_pairs_hook=keep, parse_int=str)
    counts = Counter(name for name, _ in pairs if name in wanted)
    return next((name for name, count in counts.items() if count > 1), None)


def _parse_exactly(line: bytes) -> Any:
    """Parse a line once more, slowly: whole numbers become decimals, whatever their size."""
    return json.loads(line, parse_int=Decimal)


def _identifier(value: Any) -> str | None:
    """Return an id as text, empty where there is none; None for what orjson makes no text or whole number of."""
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else "" if value is None else None


def _exact_identifier(line: bytes, column: str) -> tuple[str, Fault | None]:
    """Return an id as text, and what is wrong with it: a whole number beyond 64 bits is a float to orjson."""
    value = _parse_exactly(line)[column]
    return str(value), None if isinstance(value, Decimal) else Fault(NO_ID)


@contextmanager
def _open_lines(path: Path, dialect: Dialect) -> Iterator[Iterator[tuple[int, bytes]]]:
    """Give the lines that are not blank, as UTF-8, numbered from 1; a byte order mark is no part of the first."""
    with reading(path), open_bytes(path) as file:
        try:
            yield _number(file if dialect.is_utf_8 else _as_utf_8(file, dialect.encoding))
        except UnicodeError as err:
            raise UnreadableFile(path, f"it is not written in {dialect.encoding} (--encoding)") from err


def _as_utf_8(file: IO[bytes], encoding: str) -> Iterator[bytes]:
    return (line.encode("utf-8", "surrogatepass") for line in TextIOWrapper(file, encoding, newline="\n"))


def _number(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(BOM_UTF8) if number == 1 else line
        if text and not text.isspace():
            yield number, text
