"""Rows beyond their view's TTL count as missing, by the timestamp that stands behind all of their features."""

from __future__ import annotations

import struct

import pytest

from ranker.errors import CorruptVector, ExpiredRow
from ranker.vectors.group import ProductSchema
from ranker.vectors.rows import RowStatus
from ranker.vectors.stored.feast_expiry import ExpiringDecoder, read_timestamp
from ranker.vectors.stored.feast_values import FeastDecoder, FieldValues

FOUND, MISSING, CORRUPT = RowStatus.FOUND, RowStatus.MISSING, RowStatus.CORRUPT
VIEW = {"project": "p", "view": "v", "join_key": "k", "ttl_s": 10}
ENTITY = ProductSchema.model_validate({"format": "feast", "feast": VIEW, "features": ["a", "b", "c"]})
NOW = 100.0
OLD, FRESH, YOUNGEST = b"\x08\x59", b"\x08\x5a", b"\x08\x64"
"""Of the seconds 89, 90 and 100."""


def row(timestamp: bytes | None, *, first: float = 1) -> FieldValues:
    return [*(b"\x35" + struct.pack("<f", number) for number in (first, 2, 3)), timestamp]


def decoder() -> ExpiringDecoder:
    return ExpiringDecoder(FeastDecoder(ENTITY), 10, lambda: NOW)


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        (b"", 0),
        (b"\x08\x05", 5),
        (b"\x10\x80\xca\xb5\xee\x01", 0.5),
        (b"\x08\x05\x10\x80\xca\xb5\xee\x01", 5.5),
        (b"\x10\xff\x93\xeb\xdc\x03", 0.999999999),
    ],
)
def test_timestamp_is_its_seconds_and_billionths(data: bytes, seconds: float) -> None:
    assert read_timestamp(data) == seconds


@pytest.mark.parametrize("data", [b"\x18\x05", b"\x08\x05\x18\x05", b"\x08", b"\x0a\x05"])
def test_message_with_other_fields_is_no_timestamp(data: bytes) -> None:
    with pytest.raises(CorruptVector):
        read_timestamp(data)


def test_row_is_used_up_to_its_ttl_and_neighbours_are_kept() -> None:
    values = [row(FRESH), row(OLD), row(YOUNGEST, first=4), row(None), row(b"\x18\x05"), [None] * 4, []]
    rows = decoder().decode(values)
    assert rows.statuses.tolist() == [FOUND, MISSING, FOUND, FOUND, CORRUPT, MISSING, CORRUPT]
    assert rows.values[[0, 2, 3]].tolist() == [[1, 2, 3], [4, 2, 3], [1, 2, 3]]
    assert rows.complete is False


def test_rows_within_their_ttl_are_complete() -> None:
    rows = decoder().decode([row(FRESH), row(YOUNGEST)])
    assert (rows.statuses.tolist(), rows.complete) == ([FOUND, FOUND], True)
    assert decoder().decode([row(OLD)]).complete is False


def test_single_row_beyond_its_ttl_is_refused_with_its_age() -> None:
    assert decoder().decode_one(row(FRESH)).tolist() == [1, 2, 3]
    with pytest.raises(ExpiredRow, match="11"):
        decoder().decode_one(row(OLD))
