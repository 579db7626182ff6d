"""Decoding: stored bytes to rows. Pure: no I/O, no policy about what is missing.

Beside version-1 vectors (`encoding`), the reader understands a JSON array and a JSON string that holds one, told apart
by the first byte, so that a store can be migrated while it serves. A vector with an infinity in float32 is corrupt: one
would put its product at the top of every list. NaN stays, for it is what many models take for a missing value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson

from ranker.errors import CorruptVector, FeatureError, WrongFingerprint, WrongWidth
from ranker.vectors.rows import Matrix, Rows, RowStatus, Statuses, Unread
from ranker.vectors.stored.encoding import HEADER, MAGIC, VALUE_TYPES, VERSION, make_header

JSON_SPACE = b" \t\r\n"
"""Characters that JSON lets stand before and after a value (RFC 8259, 2)."""
LONGEST_BYTES, LONGEST_VALUE_BYTES = 1024, 256
"""Bytes of the longest vector that is read, whole and for each value: parsed JSON takes some 20 times its length."""

_CORRUPT = np.uint8(RowStatus.CORRUPT)


class RowDecoder:
    """Decodes stored bytes into float32 rows of one width and one schema fingerprint.

    Args:
        width: W, the number of values a vector must hold.
        fingerprint: The schema fingerprint a binary vector must carry.
    """

    def __init__(self, width: int, fingerprint: int) -> None:
        self._width = width
        self._fingerprint = fingerprint
        self._header = int.from_bytes(make_header(fingerprint), "little")
        # One record per stored vector; packed, so a joined MGET answer is an array of them.
        self._record = np.dtype([("header", "<u8"), ("values", "<f4", (width,))])
        self._all_found = np.zeros(0, dtype=np.uint8)

    def decode(self, values: Sequence[bytes | None]) -> Rows:
        """Decode n stored values (None where Redis had no key).

        The usual case, n binary float32 vectors of this schema, costs one join and one `np.frombuffer`. Anything
        else is decoded value by value; what cannot be is marked in `statuses`, never raised.
        """
        n = len(values)
        if not n:
            return Rows.missing(0, self._width)
        size = self._record.itemsize
        try:
            # None has no length, which is the test for it, and what mypy minds. Asked before anything is copied, for a
            # value may be huge.
            if not {size}.issuperset(map(len, values)):  # type: ignore[arg-type]
                return decode_each(values, self._width, self.decode_one)
        except TypeError:
            return decode_each(values, self._width, self.decode_one)
        records = np.frombuffer(b"".join(values), dtype=self._record)  # type: ignore[arg-type]  # None has been found
        if not (records["header"] == self._header).all():
            return decode_each(values, self._width, self.decode_one)
        return without_infinities(records["values"], self._statuses_found(n))

    def decode_one(self, value: bytes) -> Matrix:
        """Decode one stored value in any encoding.

        Returns:
            Shape (W,), float32.

        Raises:
            WrongFingerprint: a binary vector of another schema.
            WrongWidth: another number of values than W.
            CorruptVector: bytes that are no vector at all, or hold an infinity.
        """
        check_length(len(value), self._width)
        if value[:1] == b"R":
            return self._decode_binary(value)
        text = value.strip(JSON_SPACE)
        if text[:1] in (b"[", b'"'):
            return self._decode_json(text)
        raise CorruptVector("it begins neither with the magic RV nor as a JSON array")

    def _statuses_found(self, n: int) -> Statuses:
        if len(self._all_found) < n:
            self._all_found = np.zeros(max(n, 1024), dtype=np.uint8)
            self._all_found.flags.writeable = False
        return self._all_found[:n]

    def _decode_binary(self, value: bytes) -> Matrix:
        if len(value) < HEADER.size:
            raise CorruptVector(f"{len(value)} bytes are fewer than a header")
        magic, version, code, fingerprint = HEADER.unpack_from(value)
        if magic != MAGIC or version != VERSION or code not in VALUE_TYPES:
            raise CorruptVector(f"unknown header {value[: HEADER.size].hex()}")
        if fingerprint != self._fingerprint:
            raise WrongFingerprint(fingerprint, self._fingerprint)
        body, itemsize = len(value) - HEADER.size, VALUE_TYPES[code].itemsize
        if body % itemsize:
            raise CorruptVector(f"{body} bytes after the header are no whole number of {itemsize}-byte floats")
        if body != self._width * itemsize:
            raise WrongWidth(body // itemsize, self._width)
        return finite_or_nan(np.frombuffer(value, dtype=VALUE_TYPES[code], offset=HEADER.size).astype(np.float32))

    def _decode_json(self, text: bytes) -> Matrix:
        # An array of numbers has no character that JSON escapes, so JSON in JSON is the array between two quotes.
        inner = text[1:-1] if text[:1] == b'"' and text[-1:] == b'"' else text
        try:
            numbers = orjson.loads(inner)
        except orjson.JSONDecodeError:
            numbers = loads_lenient(text)
        return to_row(numbers, self._width)


def without_infinities(values: Matrix, statuses: Statuses) -> Rows:
    """Return n rows that were found whole, those with an infinity marked as corrupt: one pass over all of them."""
    infinite = np.isinf(values)
    if not infinite.any():
        return Rows(values, statuses, complete=True)
    return Rows(values, np.where(infinite.any(axis=1), _CORRUPT, statuses), complete=False)


def finite_or_nan(row: Matrix) -> Matrix:
    """Return the row, shape (W,).

    Raises:
        CorruptVector: a value is infinite.
    """
    if np.isinf(row).any():
        raise CorruptVector("a value is infinite, or beyond float32")
    return row


def decode_each(values: Sequence[Any], width: int, decode_one: Callable[[Any], Matrix]) -> Rows:
    """Decode n stored values (None where there is no such key) one by one, marking in `statuses` what cannot be."""
    rows = np.empty((len(values), width), dtype=np.float32)
    statuses = np.zeros(len(values), dtype=np.uint8)
    for i, value in enumerate(values):
        if not value and (value is None or isinstance(value, Unread)):
            statuses[i] = RowStatus.MISSING if value is None else RowStatus.UNREAD
            continue
        try:
            rows[i] = decode_one(value)
        except WrongFingerprint:
            statuses[i] = RowStatus.WRONG_SCHEMA
        except FeatureError:
            statuses[i] = RowStatus.CORRUPT
    return Rows(rows, statuses, complete=not statuses.any())


def check_length(size: int, width: int) -> None:
    """Raise CorruptVector for more bytes than W values take in any encoding, before anything parses them."""
    if size > LONGEST_BYTES + LONGEST_VALUE_BYTES * width:
        raise CorruptVector(f"{size} bytes are too many for {width} values")


def to_row(numbers: Any, width: int) -> Matrix:
    """Return what was parsed from text or MessagePack as a row, shape (W,), float32.

    Raises:
        WrongWidth: another number of values than W.
        CorruptVector: it is no list of numbers, or one is infinite in float32.
    """
    if not isinstance(numbers, list):
        raise CorruptVector("they hold no list")
    if len(numbers) != width:
        raise WrongWidth(len(numbers), width)
    if not set(map(type, numbers)) <= {float, int}:
        raise CorruptVector("the list holds something that is not a number")
    with np.errstate(over="ignore"):  # a double beyond float32's range becomes infinite, and is found
        try:
            row: Matrix = np.array(numbers, dtype=np.float64).astype(np.float32)
        except OverflowError:
            raise CorruptVector("a number is beyond the range of a double") from None
    return finite_or_nan(row)


def loads_lenient(value: bytes) -> Any:
    """Parse with the standard library, which also takes NaN, Infinity and an escaped inner text."""
    try:
        parsed = json.loads(value)
        return json.loads(parsed) if isinstance(parsed, str) else parsed
    except (ValueError, RecursionError) as err:
        raise CorruptVector(f"invalid JSON: {str(err)[:100]}") from None
