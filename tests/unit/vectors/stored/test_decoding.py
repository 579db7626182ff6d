"""Stored bytes to rows: whichever way a store's values take, rows are float32 and each number is the same."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import numpy as np
import pytest

from ranker.errors import CorruptVector, FeatureError
from ranker.vectors.group import ProductSchema
from ranker.vectors.rows import RowStatus
from ranker.vectors.stored.decoding import RowDecoder
from ranker.vectors.stored.encoding import encode
from ranker.vectors.stored.formats import Decoder, decoder_for

FINGERPRINT = 7
GOOD = encode([[1.0, 2.0]], FINGERPRINT)[0]
HALF = encode([[1.0, 2.0]], FINGERPRINT, "float16")[0]


def decoder(stored: str, *features: Any) -> Decoder:
    return decoder_for(ProductSchema.model_validate({"format": stored, "features": list(features)}), FINGERPRINT)


@pytest.mark.parametrize("features", [["a"], ["a", {"name": "id", "type": "int64"}]], ids=["plain", "typed"])
def test_no_values_are_no_rows(features: list[Any]) -> None:
    rows = decoder("ranker", *features).decode([])
    assert rows.values.shape == (0, 1 if len(features) == 1 else 4)
    assert (len(rows), rows.complete) == (0, True)


@pytest.mark.parametrize("values", [[GOOD, GOOD], [GOOD, HALF], [HALF], [b"[1, 2]", None]])
def test_rows_and_statuses_have_one_type_however_values_are_stored(values: list[bytes | None]) -> None:
    made = RowDecoder(2, FINGERPRINT)
    rows = made.decode(values)
    assert (rows.values.dtype, rows.statuses.dtype) == (np.float32, np.uint8)
    one = made.decode_one(values[0] or b"")
    assert (one.dtype, one.tolist()) == (np.float32, [1, 2])


@pytest.mark.parametrize("typed", [[], [{"name": "c", "type": "int64"}]], ids=["plain", "typed"])
@pytest.mark.parametrize(
    "text",
    [b'"[[1, 2, 3]"', b'"[1, 2, 3]]"', b"\x0b[1, 2, 3]", b"[1, 2, 3]\x0c", b'"[1, 2, 3]', b"", b" ", b'""', b'"'],
)
def test_text_that_is_nearly_json_is_corrupt(text: bytes, typed: list[Any]) -> None:
    made = decoder("ranker", "a", "b", *(typed or ["c"]))
    assert made.decode_one(b" [1, 2, 3]\n")[:2].tolist() == [1, 2]
    assert made.decode([text]).statuses.tolist() == [RowStatus.CORRUPT]
    with pytest.raises(CorruptVector):
        made.decode_one(text)


WHOLE = 2**60 + 2**36 + 1
"""Its double lies in the middle of two float32, and it does not: to round once gives another float32."""


@pytest.mark.parametrize("typed", [[], [{"name": "c", "type": "bool"}]], ids=["plain", "typed"])
@pytest.mark.parametrize("stored", ["ranker", "json", "msgpack", "hash"])
def test_whole_number_beyond_float32_is_the_same_however_it_is_stored(stored: str, typed: list[Any]) -> None:
    row: list[Any] = [WHOLE, 5, *[True] * len(typed)]
    value: Any = {
        "ranker": json.dumps(row).encode(),
        "json": json.dumps(dict(zip("abc", row, strict=False))).encode(),
        "msgpack": msgpack.packb(row),
        "hash": [json.dumps(number).encode() for number in row],
    }[stored]
    expected = np.float64(WHOLE).astype(np.float32)
    assert expected != np.int64(WHOLE).astype(np.float32)
    assert decoder(stored, "a", "b", *typed).decode([value]).values[0, 0] == expected


@pytest.mark.parametrize("stored", ["ranker", "msgpack", "json", "hash"])
def test_absent_value_without_a_stand_in_is_named(stored: str) -> None:
    value: Any = {
        "ranker": b"[null, 1]",
        "msgpack": msgpack.packb([None, 1]),
        "json": b'{"on_sale": 1}',
        "hash": [None, b"1"],
    }[stored]
    with pytest.raises(FeatureError, match="there is no value of 'price', and the schema says of none that stands in"):
        decoder(stored, "price", {"name": "on_sale", "type": "bool"}).decode_one(value)
