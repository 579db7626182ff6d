"""Typed values in the formats that others store, and what an absent one becomes in each."""

import json
import math
from typing import Any

import msgpack
import numpy as np
import pytest

from ranker.errors import CorruptVector, InvalidSchema
from ranker.vectors.group import ProductSchema
from ranker.vectors.rows import RowStatus
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.formats import Decoder, decoder_for
from tests.support.typed import ROWS, SCHEMA, USER, columns

FOUND, MISSING, CORRUPT = RowStatus.FOUND, RowStatus.MISSING, RowStatus.CORRUPT
NAMES = SCHEMA.user.names
EXPECTED = columns(SCHEMA.user, *ROWS[:1])


def decoder(stored: str, *features: Any) -> Decoder:
    given = {"format": stored, "features": list(features) or USER["features"]}
    return decoder_for(ProductSchema.model_validate(given), 7)


def field(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


def write(stored: str, row: list[Any]) -> Any:
    """Write a row as another system would."""
    if stored == "hash":
        return [None if value is None else field(value) for value in row]
    if stored == "msgpack":
        return msgpack.packb([-1 if value == (1 << 62) + 1 else value for value in row])
    named = dict(zip(NAMES, row, strict=True))
    return json.dumps({"other": 1, **named} if stored == "json" else row).encode()


@pytest.mark.parametrize("stored", ["json", "hash", "ranker"])
def test_typed_values_are_read_in_every_format(stored: str) -> None:
    rows = decoder(stored).decode([write(stored, ROWS[0]), write(stored, ROWS[0])])
    assert rows.complete
    assert np.array_equal(rows.values, np.concatenate([EXPECTED, EXPECTED]))


def test_messagepack_carries_typed_values_and_vectors_as_bytes() -> None:
    features = ["age", {"name": "id", "type": "int64"}, {"name": "taste", "shape": [2]}]
    good = msgpack.packb([1.5, (1 << 62) + 1, np.array([2, 3], "<f4").tobytes()])
    assert decoder("msgpack", *features).decode([good]).values[:, [0, 4, 5]].tolist() == [[1.5, 2, 3]]
    with pytest.raises(CorruptVector, match="of taste, 4 bytes are not the float32 of its 2 values"):
        decoder("msgpack", *features).decode_one(msgpack.packb([1.5, 1, b"1234"]))


def test_hash_holds_one_vector_as_bytes_beside_number_fields() -> None:
    features = ["price", {"name": "embedding", "shape": [3]}]
    raw = np.array([0.5, -1.5, 1e-30], dtype="<f4")
    text = b"[1,2,3, 4]"
    rows = decoder("hash", *features).decode([[b"12.5", raw.tobytes()], [b"1", b"[1, 2, 3]"], [b"1", text]])
    assert rows.statuses.tolist() == [FOUND, FOUND, CORRUPT]
    assert rows.values[:2].tolist() == [[12.5, *raw.tolist()], [1, 1, 2, 3]]


def test_bytes_of_a_vector_that_look_like_json_are_read_as_what_they_say() -> None:
    features = ["price", {"name": "embedding", "shape": [2]}]
    assert len(text := b"[1.5, 2]") == 8
    assert decoder("hash", *features).decode_one([b"1", text]).tolist() == [1, 1.5, 2]
    raw = b"[abcdef]"
    assert decoder("hash", *features).decode_one([b"1", raw])[1:].tobytes() == raw


@pytest.mark.parametrize(
    ("feature", "named", "listed"),
    [
        ("a", None, None),
        ({"name": "a", "default": 5}, 5, None),
        ({"name": "a", "default": 5, "missing": "default"}, 5, 5),
        ({"name": "a", "missing": "nan"}, math.nan, math.nan),
        ({"name": "a", "default": 5, "missing": "refuse"}, None, None),
        ({"name": "a", "type": "category", "vocabulary": ["x", "y"], "default": "y"}, 1, None),
        ({"name": "a", "type": "category", "vocabulary": ["x", "y"], "missing": "nan"}, math.nan, math.nan),
    ],
)
def test_absent_value_becomes_what_the_schema_says(feature: Any, named: float | None, listed: float | None) -> None:
    cases = {
        "hash": ([None, b"1"], named),
        "json": (b'{"b": 1}', named),
        "ranker": (b"[null, 1]", listed),
        "msgpack": (msgpack.packb([None, 1]), listed),
    }
    for stored, (value, expected) in cases.items():
        rows = decoder(stored, feature, "b").decode([value])
        assert rows.statuses.tolist() == [CORRUPT if expected is None else FOUND], stored
        if expected is not None:
            assert np.array_equal(rows.values, [[expected, 1]], equal_nan=True), stored
    if named is not None:
        assert decoder("json", feature, "b").decode([b'{"a": null, "b": 1}']).complete


@pytest.mark.parametrize(
    ("stored", "value", "status"),
    [
        ("json", b"{}", CORRUPT),
        ("json", b"[1]", CORRUPT),
        ("json", b"{", CORRUPT),
        ("json", None, MISSING),
        ("json", b'{"age": 1e999}', CORRUPT),
        ("hash", [None] * len(NAMES), MISSING),
        ("hash", [], CORRUPT),
        ("hash", [b"\xff"] * len(NAMES), CORRUPT),
    ],
)
def test_unusable_value_is_marked(stored: str, value: Any, status: RowStatus) -> None:
    assert decoder(stored).decode([value]).statuses.tolist() == [status]


def test_wrong_value_names_its_feature() -> None:
    with pytest.raises(CorruptVector, match="of brand, 'asics' is not in the vocabulary"):
        decoder("json", {"name": "brand", "type": "category", "vocabulary": ["nike"]}).decode_one(b'{"brand": "asics"}')


@pytest.mark.parametrize("stored", ["float32", "float64"])
def test_raw_floats_hold_vectors_and_nothing_else(stored: str) -> None:
    raw = np.array([1, 2, 3], "<f4" if stored == "float32" else "<f8").tobytes()
    assert decoder(stored, {"name": "a", "shape": [2]}, "b").decode([raw]).values.tolist() == [[1, 2, 3]]
    with pytest.raises(InvalidSchema, match=f"`format: {stored}` has floats alone, and a is int64"):
        FeatureSchema.from_mapping(
            {
                "user": {"features": ["age"]},
                "product": {"format": stored, "features": [{"name": "a", "type": "int64"}]},
            }
        )


def test_default_that_was_not_given_is_none_after_a_round_trip_either() -> None:
    features = ["a", {"name": "b", "default": 0}]
    given = {"user": {"features": ["age"]}, "product": {"format": "json", "features": features}}
    copy = FeatureSchema.from_mapping(json.loads(json.dumps(FeatureSchema.from_mapping(given).to_metadata())))
    assert [feature.may_lack for feature in copy.product.features] == [False, True]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([b"1", b"2"], FOUND),
        ([b"NaN", b"2"], FOUND),
        ([b"1,2", b"3"], CORRUPT),  # joined, they would be three numbers
        ([b"1,2", b""], CORRUPT),
        ([b"[1]", b"2"], CORRUPT),
        ([b'"1"', b"2"], CORRUPT),
        ([b"1e999", b"2"], CORRUPT),
        ([b"1e39", b"2"], CORRUPT),
        ([b"1", b"abcd"], CORRUPT),  # as long as a float32
        ([b"1", np.float32(1).tobytes()], CORRUPT),
        ([b"\xff", b"2"], CORRUPT),
    ],
)
def test_fields_of_a_hash_are_numbers_one_by_one(fields: list[bytes], status: RowStatus) -> None:
    for typed in ([], [{"name": "c", "type": "int64"}]):
        rows = decoder("hash", "a", "b", *typed).decode([[*fields, *[b"7"] * len(typed)]])
        assert rows.statuses.tolist() == [status]
        assert rows.complete is (status is FOUND)


@pytest.mark.parametrize("stored", ["json", "ranker", "msgpack"])
def test_value_that_is_no_finite_number_spoils_its_vector_wherever_it_stands(stored: str) -> None:
    made = decoder(stored, "a", {"name": "c", "type": "int64"}, "b")

    def stored_as(row: list[Any]) -> bytes:
        if stored == "msgpack":
            return msgpack.packb(row)
        text = json.dumps(dict(zip("acb", row, strict=False)) if stored == "json" else row)
        return text.encode()

    assert made.decode([stored_as([1.5, 7, 2])]).complete
    for wrong in ([math.inf, 7, 2], [1.5, 7, -math.inf], [1e39, 7, 2], ["1", 7, 2], [1.5, 7]):
        assert made.decode([stored_as([1.5, 7, 2]), stored_as(wrong)]).statuses.tolist() == [FOUND, CORRUPT], wrong
    if stored != "json":
        assert made.decode([stored_as([1.5, 7, 2, 3])]).statuses.tolist() == [CORRUPT]
    if stored != "msgpack":  # which has no such number
        with pytest.raises(CorruptVector, match="beyond the range of a double"):
            made.decode_one(stored_as([10**400, 7, math.nan]))


@pytest.mark.parametrize("stored", ["json", "hash", "ranker"])
def test_whole_number_beyond_a_double_spoils_the_vector_that_holds_it_and_no_other(stored: str) -> None:
    made = decoder(stored, "a", {"name": "taste", "shape": [2]})

    def stored_as(row: list[Any]) -> Any:
        if stored == "hash":
            return [field(value) for value in row]
        return json.dumps(dict(zip(("a", "taste"), row, strict=True)) if stored == "json" else row).encode()

    values = [stored_as([1, taste]) for taste in ([1, 2], [10**400, 2], [3, 4])]
    assert made.decode(values).statuses.tolist() == [FOUND, CORRUPT, FOUND]


@pytest.mark.parametrize(
    "feature", [{"type": "int32", "shape": [2]}, {"type": "float16", "length": 2}, {"type": "category", "length": 2}]
)
def test_bytes_are_a_vector_of_float32_for_no_other_kind(feature: dict[str, Any]) -> None:
    vocabulary = {"vocabulary": ["x"]} if feature["type"] == "category" else {}
    made = decoder("msgpack", "a", {"name": "b", **feature, **vocabulary})
    for n in (1, 2, 4):
        assert made.decode([msgpack.packb([1.5, bytes(4 * n)])]).statuses.tolist() == [CORRUPT]
