"""Feast's values: each kind of a message is read as what it holds, and bytes that are cut or too long are none."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from ranker.errors import CorruptVector
from ranker.vectors.group import ProductSchema
from ranker.vectors.rows import RowStatus
from ranker.vectors.stored.feast_values import read_value
from ranker.vectors.stored.formats import Decoder, decoder_for

FOUND, MISSING, CORRUPT = RowStatus.FOUND, RowStatus.MISSING, RowStatus.CORRUPT


def varint(number: int) -> bytes:
    number %= 1 << 64
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def whole(number: int) -> bytes:
    """Write an `int64_val`."""
    return b"\x20" + varint(number)


def double(number: float) -> bytes:
    return b"\x29" + struct.pack("<d", number)


def single(number: float) -> bytes:
    return b"\x35" + struct.pack("<f", number)


def lists(field: int, message: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(message)) + message


def decoder(*features: Any) -> Decoder:
    view = {"project": "p", "view": "v", "join_key": "k"}
    given = {"format": "feast", "feast": view, "features": list(features)}
    return decoder_for(ProductSchema.model_validate(given), 7)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\x0a\x02\xff\xfe", b"\xff\xfe"),
        (b"\x0a\x02ab", b"ab"),
        (b"\x12\x02ab", "ab"),
        (whole(-1), -1),
        (b"\x38\x01", True),
        (lists(17, b"\x0a\x02\x01\x00"), [True, False]),
        (lists(17, b"\x08\x00\x08\x01"), [False, True]),
        (lists(14, b"\x0a\x01\x05\x0a\x02\x06\x07"), [5, 6, 7]),
        (lists(16, b"\x0a\x04" + struct.pack("<f", 1.5) + b"\x0a\x04" + struct.pack("<f", 2.5)), [1.5, 2.5]),
        (lists(15, b"\x0a\x08" + struct.pack("<d", 1.5) + b"\x09" + struct.pack("<d", 2.5)), [1.5, 2.5]),
        (lists(12, b"\x0a\x01a\x0a\x00"), ["a", ""]),
        (lists(11, b"\x0a\x01\xff"), [b"\xff"]),
    ],
)
def test_value_is_what_its_message_holds(data: bytes, value: Any) -> None:
    found = read_value(data)
    assert found == value
    assert type(found) is type(value)
    if isinstance(value, list):
        assert list(map(type, found)) == list(map(type, value))


@pytest.mark.parametrize(
    "data",
    [
        b"\x20" + b"\xff" * 9 + b"\x02",
        b"\x20" + b"\x80" * 10 + b"\x00",
        b"\x20" + b"\x80",
        b"\x12\x05ab",
        lists(12, b"\x0a\x05ab"),
        lists(14, b"\x0a\x02\x05"),
        whole(5) + b"\x00",
    ],
    ids=["65 bits", "eleven bytes", "cut", "cut text", "cut text of a list", "cut list", "bytes left"],
)
def test_message_that_is_cut_or_too_long_is_none(data: bytes) -> None:
    with pytest.raises(CorruptVector):
        read_value(data)


def test_whole_numbers_as_long_as_a_float_are_whole_numbers() -> None:
    numbers = [1 << 21, (1 << 28) - 1]
    assert {len(whole(number)) for number in numbers} == {5} == {len(single(0))}
    rows = decoder("a").decode([[whole(number)] for number in numbers])
    assert rows.values[:, 0].tolist() == np.array(numbers, np.float32).tolist()


def test_typed_rows_of_numbers_alone_are_read_into_their_columns() -> None:
    made = decoder("price", {"name": "id", "type": "int64"})
    values = [[single(1.5), whole(1 << 44)], [single(2.5), whole(7)]]
    rows = made.decode(values)
    assert rows.complete
    assert rows.values.tolist() == [[1.5, 0, 0, 1], [2.5, 7, 0, 0]]
    assert rows.values.tolist() == [made.decode_one(value).tolist() for value in values]


def test_entities_of_several_kinds_of_numbers_are_read_as_each_alone() -> None:
    number = 2**60 + 2**36 + 1  # to round it once would give another float32 than by its double
    mixed = [[whole(number), double(1.5)], [whole(-3), b"\x38\x01"], [single(0.5), double(2.5)]]
    made = decoder("a", "b")
    for values in (mixed, mixed[:2]):
        rows = made.decode(values)
        assert rows.values.tolist() == [made.decode_one(value).tolist() for value in values]
        assert (rows.values.dtype, rows.statuses.dtype, rows.complete) == (np.float32, np.uint8, True)


@pytest.mark.parametrize("other", [single(2), double(2), whole(2)])
def test_neighbours_of_what_cannot_be_read_keep_their_rows(other: bytes) -> None:
    good = [single(1), other]
    rows = decoder("a", "b").decode([good, [], [None, None], [double(1e300), other], good, [b"", other]])
    assert rows.statuses.tolist() == [FOUND, CORRUPT, MISSING, CORRUPT, FOUND, CORRUPT]
    assert rows.values[[0, 4]].tolist() == [[1, 2], [1, 2]]
    assert (rows.statuses.dtype, rows.complete) == (np.uint8, False)


def test_statuses_have_one_type_where_all_are_floats() -> None:
    rows = decoder("a", "b").decode([[single(1), single(2)]] * 2)
    assert (rows.values.tolist(), rows.statuses.dtype) == ([[1, 2]] * 2, np.uint8)
    assert decoder("a", "b").decode([[single(1), single(2)], []]).statuses.tolist() == [FOUND, CORRUPT]
