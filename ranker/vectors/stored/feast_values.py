"""Feast's values: decodes the fields of an entity's hash, each a `feast.types.Value` in protobuf's encoding. Read only.

Of the message's kinds those are read that a feature can be: numbers, booleans, texts, bytes, times, and lists of them.
One small message on the request's way, so it is read here (https://protobuf.dev/programming-guides/encoding/) rather
than by a library.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.errors import CorruptVector
from ranker.vectors.group import EntitySchema
from ranker.vectors.rows import Matrix, Rows
from ranker.vectors.stored.decoding import check_length, decode_each, without_infinities
from ranker.vectors.stored.parsing import RowParser

_FIXED = {
    5: (0x35, np.dtype([("tag", "u1"), ("value", "<f4")])),
    9: (0x29, np.dtype([("tag", "u1"), ("value", "<f8")])),
}
"""By length: the tag and the bytes of a `float_val` (field 6), and of a `double_val` (field 5)."""
_VARINTS, _DOUBLES, _FLOATS, _TEXTS, _BYTES = "varint", "<f8", "<f4", "text", "bytes"
_SCALARS = {1: _BYTES, 2: _TEXTS, 3: _VARINTS, 4: _VARINTS, 5: _DOUBLES, 6: _FLOATS, 7: _VARINTS, 8: _VARINTS}
_LISTS = {field + 10: kind for field, kind in _SCALARS.items()}
"""Fields of `Value`: what each of them holds."""
_WIRE = {_VARINTS: 0, _DOUBLES: 1, _FLOATS: 5, _TEXTS: 2, _BYTES: 2}
_NULL = 19
_BOOLS = (7, 17)

FieldValues = Sequence[bytes | None]
"""The values of a hash's fields in the features' order: None where it lacks one; empty when the key holds no hash."""


class FeastDecoder:
    """Decodes entities of a feature view. What an absent field, or a null, becomes is as in a hash."""

    def __init__(self, entity: EntitySchema) -> None:
        self._width = entity.width
        self._is_plain = entity.is_plain
        self._parser = RowParser(entity, named=True)

    def decode(self, values: Sequence[FieldValues]) -> Rows:
        if self._is_plain:
            numbers = None
            try:  # the usual case first: one kind of number, and nothing missing
                if set(map(len, values)) == {self._width}:
                    numbers = _numbers([*chain.from_iterable(values)])  # type: ignore[list-item]  # None raises
            except TypeError:
                pass
            if numbers is not None:
                return without_infinities(numbers.reshape(-1, self._width), np.zeros(len(values), dtype=np.uint8))
        # A hash without any of the fields looks like a key that does not exist.
        present = [None if value and all(field is None for field in value) else value for value in values]
        if not self._is_plain:
            return decode_each(present, self._width, self.decode_one)
        whole = [i for i, value in enumerate(present) if value and None not in value and b"" not in value]
        block = self._block([values[i] for i in whole]) if whole else None  # type: ignore[misc]  # without None
        if block is None:
            return decode_each(present, self._width, self.decode_one)
        block_rows = without_infinities(block, np.zeros(len(whole), dtype=np.uint8))
        if len(whole) == len(values):
            return block_rows
        rest = sorted(set(range(len(values))).difference(whole))
        others = decode_each([present[i] for i in rest], self._width, self.decode_one)
        rows = Rows.missing(len(values), self._width)
        for positions, found in ((whole, block_rows), (rest, others)):
            rows.values[positions], rows.statuses[positions] = found.values, found.statuses
        rows.complete = not rows.statuses.any()
        return rows

    def decode_one(self, value: FieldValues) -> Matrix:
        if not value:
            raise CorruptVector("the key holds no hash")
        check_length(sum(map(len, filter(None, value))), self._width)
        return self._parser.parse([None if field is None else read_value(field) for field in value])

    def _block(self, values: Sequence[Sequence[bytes]]) -> Matrix | None:
        """Return the rows (n, W) of entities that have a number in each field; None where one has something else.

        Feast writes a feature in one kind, so a column is read in a few array operations.
        """
        rows = np.empty((len(values), self._width), dtype=np.float32)
        for j, column in enumerate(zip(*values, strict=True)):
            if (numbers := _numbers(column)) is None:
                try:
                    found = [read_value(field) for field in column]
                except CorruptVector:
                    return None
                if not set(map(type, found)) <= {float, int, bool}:
                    return None
                numbers = np.array(found, dtype=np.float64)
            with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is found
                rows[:, j] = numbers
        return rows


def _numbers(fields: Sequence[bytes]) -> npt.NDArray[np.float32] | None:
    """Return the numbers that values of Feast's hold, as float32, where all are floats, or all doubles; None else."""
    sizes = set(map(len, fields))
    if len(sizes) > 1 or (kind := _FIXED.get(next(iter(sizes)))) is None:
        return None
    tag, dtype = kind
    packed = np.frombuffer(b"".join(fields), dtype=dtype)
    if (packed["tag"] != tag).any():
        return None
    with np.errstate(over="ignore"):  # as above
        return packed["value"].astype(np.float32)


def read_value(data: bytes) -> Any:
    """Return what a `feast.types.Value` holds: a number, a boolean, a text, bytes, or a list; None for null.

    Raises:
        CorruptVector: it is no such message, or of a kind that no feature has.
    """
    if not data:
        return None
    try:
        tag, at = _varint(data, 0)
        field, wire = tag >> 3, tag & 7
        if field == _NULL:
            return None
        if field in _LISTS and wire == 2:
            payload, at = _delimited(data, at)
            found: Any = _read_list(payload, _LISTS[field])
        elif field in _SCALARS and wire == _WIRE[_SCALARS[field]]:
            found, at = _scalar(data, at, _SCALARS[field])
        else:
            raise CorruptVector(f"a value of Feast's is of kind {field}, which no feature has")
    except (IndexError, struct.error, UnicodeDecodeError, ValueError):
        raise CorruptVector(f"{data[:20]!r} is no value of Feast's") from None
    if at != len(data):
        raise CorruptVector(f"{data[:20]!r} is no single value of Feast's")
    if field in _BOOLS:
        return [bool(one) for one in found] if isinstance(found, list) else bool(found)
    return found


def read_varints(data: bytes) -> dict[int, int]:
    """Return the numbers that a message of varints holds, by field.

    Raises:
        CorruptVector: it is no such message.
    """
    found: dict[int, int] = {}
    at = 0
    try:
        while at < len(data):
            tag, at = _varint(data, at)
            if tag & 7 != _WIRE[_VARINTS]:
                raise ValueError
            found[tag >> 3], at = _signed(data, at)
    except (IndexError, ValueError):
        raise CorruptVector(f"{data[:20]!r} is no message of numbers") from None
    return found


def _scalar(data: bytes, at: int, kind: str) -> tuple[Any, int]:
    if kind == _VARINTS:
        return _signed(data, at)
    if kind in (_DOUBLES, _FLOATS):
        (number,) = struct.unpack_from("<d" if kind == _DOUBLES else "<f", data, at)
        return number, at + (8 if kind == _DOUBLES else 4)
    payload, at = _delimited(data, at)
    return (payload.decode() if kind == _TEXTS else payload), at


def _read_list(data: bytes, kind: str) -> list[Any]:
    """Return the elements of a list message: field 1, again and again, or numbers packed behind one another."""
    found: list[Any] = []
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag >> 3 != 1:
            raise ValueError
        if tag & 7 != 2 or kind in (_TEXTS, _BYTES):
            if tag & 7 != _WIRE[kind]:
                raise ValueError
            element, at = _scalar(data, at, kind)
            found.append(element)
            continue
        packed, at = _delimited(data, at)
        if kind == _VARINTS:
            inner = 0
            while inner < len(packed):
                element, inner = _signed(packed, inner)
                found.append(element)
        else:
            found += np.frombuffer(packed, dtype=kind).tolist()
    return found


def _delimited(data: bytes, at: int) -> tuple[bytes, int]:
    size, at = _varint(data, at)
    if at + size > len(data):
        raise ValueError
    return data[at : at + size], at + size


def _signed(data: bytes, at: int) -> tuple[int, int]:
    number, at = _varint(data, at)
    return (number - (1 << 64) if number >> 63 else number), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number >> 64:
                raise ValueError
            return number, at
        shift += 7
        if shift > 63:
            raise ValueError
