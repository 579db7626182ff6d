"""Version 2 and older schemas: every type comes back, however the vectors are mixed."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranker.errors import CorruptVector, FeatureError, InvalidSchema, WrongFingerprint, WrongWidth
from ranker.vectors.feature.draws import draw
from ranker.vectors.feature.kinds import MAX_CODES
from ranker.vectors.feature.shown import show
from ranker.vectors.rows import RowStatus
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.decoding import LONGEST_BYTES, LONGEST_VALUE_BYTES, RowDecoder
from ranker.vectors.stored.encoding import Encoder, encode, make_header
from ranker.vectors.stored.formats import Decoder, decoder_for
from ranker.vectors.stored.typed_decoding import TypedDecoder
from tests.support.typed import ROWS, SCHEMA, columns

GOLDEN = json.loads((Path(__file__).parents[3] / "golden" / "version2.json").read_text())
USER = SCHEMA.user
FOUND, MISSING, WRONG, CORRUPT = RowStatus.FOUND, RowStatus.MISSING, RowStatus.WRONG_SCHEMA, RowStatus.CORRUPT


def decoder(schema: FeatureSchema = SCHEMA) -> Decoder:
    return decoder_for(schema.user, schema.fingerprint, schema.older_vectors("user"))


def write(schema: FeatureSchema, rows: np.ndarray) -> list[bytes]:
    return Encoder(schema.user, schema.fingerprint).encode(rows)


def test_golden_vectors_are_read_and_written_alike() -> None:
    schema = FeatureSchema.from_mapping(GOLDEN["schema"])
    assert f"{schema.fingerprint:08x}" == GOLDEN["schema_fingerprint"]
    rows = columns(schema.user, *GOLDEN["values"])
    stored = [bytes.fromhex(one) for one in GOLDEN["hex"]]
    assert write(schema, rows) == stored
    assert np.array_equal(decoder(schema).decode(stored).values, rows, equal_nan=True)


def test_every_type_comes_back() -> None:
    rows = columns(USER, *ROWS)
    decoded = decoder().decode(write(SCHEMA, rows))
    assert decoded.complete
    assert np.array_equal(decoded.values, rows, equal_nan=True)
    shown = [show(feature, decoded.values[0, USER.slices[feature.name]]) for feature in USER.features]
    assert shown == ROWS[0]


def test_one_vector_is_read_as_many_are() -> None:
    stored = write(SCHEMA, columns(USER, *ROWS))
    together = decoder().decode(stored).values
    assert np.array_equal([decoder().decode_one(value) for value in stored], together, equal_nan=True)


@pytest.mark.parametrize("seed", range(5))
def test_drawn_rows_come_back_to_the_bit(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = np.hstack([draw(feature, 50, random) for feature in USER.features])
    assert decoder().decode(write(SCHEMA, rows)).values.tobytes() == rows.tobytes()


def test_a_typed_json_array_says_the_same() -> None:
    rows = columns(USER, *ROWS[:2])
    texts = [json.dumps(row).encode() for row in ROWS[:2]]
    decoded = decoder().decode([*texts, *(json.dumps(text.decode()).encode() for text in texts)])
    assert decoded.complete
    assert np.array_equal(decoded.values, np.concatenate([rows, rows]), equal_nan=True)


def test_neighbours_of_unusable_vectors_are_kept() -> None:
    first, second, _ = write(SCHEMA, columns(USER, *ROWS))
    foreign = make_header(7) + first[8:]
    rows = decoder().decode([first, None, foreign, second[:-1], b"[1, 2]", b"nonsense", second])
    assert rows.statuses.tolist() == [FOUND, MISSING, WRONG, CORRUPT, CORRUPT, CORRUPT, FOUND]
    assert np.array_equal(rows.values[[0, 6]], columns(USER, *ROWS[:2]), equal_nan=True)


def spoilt(name: str, raw: bytes) -> bytes:
    """Return a record with other bytes in the first bytes of one feature."""
    sizes = [feature.kind.stored.itemsize * feature.size + 2 * feature.is_sequence for feature in USER.features]
    at = 8 + sum(sizes[: USER.names.index(name)])
    value = write(SCHEMA, columns(USER, ROWS[0]))[0]
    return value[:at] + raw + value[at + len(raw) :]


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("member", b"\x02"),
        ("member", b"\xfe"),
        ("segment", (MAX_CODES + 1).to_bytes(4, "little")),
        ("segment", (-MAX_CODES - 1).to_bytes(4, "little", signed=True)),
        ("viewed", b"\x04\x00"),
        ("age", np.float32(np.inf).tobytes()),
        ("half", np.float16(-np.inf).tobytes()),
    ],
)
def test_bytes_that_are_no_value_of_their_type_are_corrupt(name: str, raw: bytes) -> None:
    good = write(SCHEMA, columns(USER, ROWS[0]))[0]
    assert decoder().decode([good, spoilt(name, raw)]).statuses.tolist() == [FOUND, CORRUPT]
    with pytest.raises(CorruptVector, match="infinite"):
        decoder().decode_one(spoilt(name, raw))


@pytest.mark.parametrize("code", [MAX_CODES, -MAX_CODES])
def test_largest_code_of_a_category_is_one(code: int) -> None:
    row = decoder().decode([spoilt("segment", code.to_bytes(4, "little", signed=True))])
    assert row.complete
    assert row.values[0, USER.slices["segment"]].tolist() == [code]


def test_sequences_and_texts_of_one_type_side_by_side_come_back_each_as_it_was() -> None:
    histories = [{"name": name, "type": "product", "length": length} for name, length in (("seen", 2), ("bought", 3))]
    texts = [{"name": name, "type": "text", "length": length} for name, length in (("city", 4), ("street", 7))]
    schema = FeatureSchema.from_mapping({"user": {"features": [*histories, *texts]}, "product": {"features": ["p"]}})
    rows = columns(schema.user, [[7], [9, 8, 1 << 62], "Ulm", "Weg 1"], [[], [5], "", "Allee"])
    decoded = decoder(schema).decode(write(schema, rows))
    assert decoded.complete
    assert np.array_equal(decoded.values, rows)


def test_number_beyond_its_type_is_written_as_what_no_reader_takes() -> None:
    rows = columns(USER, ROWS[0])
    rows[:, USER.slices["half"]] = 1e30
    assert decoder().decode(write(SCHEMA, rows)).statuses.tolist() == [CORRUPT]


def test_no_infinity_comes_out_of_a_store_of_several_kinds() -> None:
    first, second, _ = write(SCHEMA, columns(USER, *ROWS))
    rows = decoder().decode([None, first, spoilt("age", np.float32(np.inf).tobytes()), second, second + b"\0"])
    assert rows.statuses.tolist() == [MISSING, FOUND, CORRUPT, FOUND, CORRUPT]
    assert not rows.complete
    assert np.array_equal(rows.values[[1, 3]], columns(USER, *ROWS[:2]), equal_nan=True)


def test_record_of_another_schema_is_none_of_ours_though_it_is_as_long() -> None:
    first, second, _ = write(SCHEMA, columns(USER, *ROWS))
    assert decoder().decode([first, make_header(7) + second[8:]]).statuses.tolist() == [FOUND, WRONG]


def test_padding_of_a_history_is_zero_whatever_lies_there() -> None:
    raw = b"\x01\x00" + b"\x05" * 24
    row = decoder().decode_one(spoilt("viewed", raw))[USER.slices["viewed"]]
    assert row[0] == 1
    assert row[4:].tolist() == [0] * 6


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (b"RV", CorruptVector, "fewer than a header"),
        (make_header(SCHEMA.fingerprint), CorruptVector, "unknown header"),
        (b"RV\x02\x00\x01\x00\x00\x00", WrongFingerprint, "written for schema 00000001"),
        (b"{}", CorruptVector, "neither with the magic RV nor as a JSON array"),
        (b"[1]", WrongWidth, "The vector has 1 values; the schema names 14 features"),
        (b"[" * 3000, CorruptVector, "invalid JSON"),
    ],
)
def test_unusable_bytes_are_named(value: bytes, error: type[FeatureError], said: str) -> None:
    with pytest.raises(error, match=said):
        decoder().decode_one(value)


def test_record_of_another_length_is_named() -> None:
    value = write(SCHEMA, columns(USER, ROWS[0]))[0]
    with pytest.raises(CorruptVector, match=f"{len(value) + 1} bytes are not the {len(value)} of a record"):
        decoder().decode_one(value + b"\0")


PLAIN = {"user": {"features": ["age", "spend"]}, "product": {"features": ["price"]}}


def grown(*features: Any, older: Any = PLAIN) -> FeatureSchema:
    return FeatureSchema.from_mapping(
        {"user": {"features": list(features)}, "product": {"features": ["price"]}, "older": [older]}
    )


def test_plain_schema_without_older_ones_is_decoded_as_ever() -> None:
    schema = FeatureSchema.from_mapping(PLAIN)
    assert type(decoder(schema)) is RowDecoder
    assert type(decoder(grown("spend", "age"))) is TypedDecoder


@pytest.mark.parametrize("taste", [{"name": "taste", "default": 4}, {"name": "taste", "shape": [1], "default": 4}])
def test_store_half_old_and_half_new_is_read_whole(taste: dict[str, Any]) -> None:
    before, after = FeatureSchema.from_mapping(PLAIN), grown("spend", taste, "age")
    old = encode([[30, 1], [40, 2]], before.fingerprint)
    new = write(after, np.array([[5, 6, 7]], np.float32))
    half = encode([[50, 3]], before.fingerprint, "float16")
    rows = decoder(after).decode([old[0], new[0], None, old[1], *half])
    assert rows.statuses.tolist() == [FOUND, FOUND, MISSING, FOUND, FOUND]
    assert rows.values[[0, 1, 3, 4]].tolist() == [[1, 4, 30], [5, 6, 7], [2, 4, 40], [3, 4, 50]]
    assert decoder(after).decode(old).complete
    assert decoder(after).decode_one(old[0]).tolist() == [1, 4, 30]


def test_vectors_of_every_older_schema_are_read_and_all_rows_are_float32() -> None:
    first, second = PLAIN, {"user": {"features": ["age", "height"]}, "product": {"features": ["price"]}}
    now = PLAIN | {"user": {"features": ["height", "age", "spend"]}, "older": [first, second]}
    after = FeatureSchema.from_mapping(now)
    stored = [
        *encode([[30, 1]], FeatureSchema.from_mapping(first).fingerprint),
        *encode([[40, 180]], FeatureSchema.from_mapping(second).fingerprint, "float16"),
        *encode([[1, 2, 3]], after.fingerprint, "float16"),
        *encode([[4, 5, 6]], after.fingerprint),
    ]
    expected = [[0, 30, 1], [180, 40, 0], [1, 2, 3], [4, 5, 6]]
    for positions in ([0, 1, 2, 3], [0], [1], [2], [3], [3, 0]):
        rows = decoder(after).decode([stored[i] for i in positions])
        assert rows.values.tolist() == [expected[i] for i in positions]
        assert (rows.values.dtype, rows.statuses.dtype, rows.complete) == (np.float32, np.uint8, True)
    assert [decoder(after).decode_one(value).tolist() for value in stored] == expected


def test_plain_vector_of_another_width_is_named_beside_older_schemas() -> None:
    after = grown("spend", "age")
    with pytest.raises(WrongWidth, match="The vector has 3 values; the schema names 2 features"):
        decoder(after).decode_one(encode([[1, 2, 3]], after.fingerprint)[0])
    with pytest.raises(CorruptVector, match="5 bytes after the header are no whole number of 4-byte floats"):
        decoder(after).decode_one(encode([[1]], after.fingerprint)[0] + b"\0")


def test_older_vector_is_read_by_name_though_it_is_as_long_as_one_of_today() -> None:
    before, after = FeatureSchema.from_mapping(PLAIN), grown("spend", "age")
    mixed = [write(after, np.array([[5, 6]], np.float32))[0], encode([[30, 1]], before.fingerprint)[0]]
    for values in (mixed, mixed[::-1]):
        rows = decoder(after).decode(values)
        assert rows.complete
        assert sorted(rows.values.tolist()) == [[1, 30], [5, 6]]


def test_older_vector_may_have_more_features_than_there_are_today() -> None:
    wide = {"user": {"features": [f"f{i}" for i in range(400)]}}
    before, after = FeatureSchema.from_mapping(PLAIN | wide), grown("f399", "new", older=wide)
    (old,) = encode([range(400)], before.fingerprint)
    assert decoder(after).decode([old]).values.tolist() == [[399, 0]]
    assert decoder(after).decode_one(old).tolist() == [399, 0]


def test_text_is_read_up_to_a_length_that_goes_by_the_widest_schema() -> None:
    for width, older in ((9, PLAIN), (9, {"user": {"features": ["f1"]}}), (1, {"user": {"features": ["f1"]}})):
        longest = LONGEST_BYTES + width * LONGEST_VALUE_BYTES
        text = json.dumps([*range(width)]).encode()
        made = decoder(grown(*(f"f{i}" for i in range(width)), older=older))
        assert made.decode_one((b" \n" + text).ljust(longest)).tolist() == [*range(width)]
        with pytest.raises(CorruptVector, match=f"too many for {width} values"):
            made.decode_one(text.ljust(longest + 1))


def test_record_of_a_schema_that_is_not_read_is_called_so_where_all_is_plain() -> None:
    made = decoder(grown("spend", "age"))
    assert made.decode([b"RV\x02\x00\x01\x00\x00\x00", None]).statuses.tolist() == [WRONG, MISSING]


def test_older_vectors_lack_what_is_nan_and_keep_what_is_gone() -> None:
    after = grown("spend", {"name": "clicks", "missing": "nan"})
    (row,) = decoder(after).decode(encode([[30, 1]], FeatureSchema.from_mapping(PLAIN).fingerprint)).values.tolist()
    assert row[0] == 1
    assert math.isnan(row[1])


def test_the_other_entitys_vectors_are_read_with_the_older_fingerprint() -> None:
    before, after = FeatureSchema.from_mapping(PLAIN), grown("age", "spend", {"name": "new", "default": 0})
    products = decoder_for(after.product, after.fingerprint, after.older_vectors("product"))
    values = [encode([[9]], before.fingerprint)[0], encode([[8]], after.fingerprint)[0]]
    assert products.decode(values).values.tolist() == [[9], [8]]


def test_longer_vocabulary_reads_the_codes_of_the_shorter() -> None:
    def of(*texts: str) -> dict[str, Any]:
        return {"user": {"features": [{"name": "brand", "type": "category", "vocabulary": [*texts]}]}}

    before = FeatureSchema.from_mapping(PLAIN | of("nike", "puma"))
    after = FeatureSchema.from_mapping(PLAIN | of("nike", "puma", "asics") | {"older": [of("nike", "puma")]})
    assert before.fingerprint != after.fingerprint
    old = write(before, np.array([[1]], np.float32))
    assert decoder(after).decode(old).values.tolist() == [[1]]


@pytest.mark.parametrize(
    ("features", "older", "said"),
    [
        (["age", "spend"], PLAIN, "stands there twice, or is no other than this one"),
        ([{"name": "age", "type": "int64"}], PLAIN, "user age was float32 and is int64, so what is stored of it means"),
        ([{"name": "age", "shape": [2]}], PLAIN, r"user age was float32 and is float32 of shape \[2\]"),
        (["age"], {"user": {"features": []}}, "older.0.user.features"),
        (["age"], {"context": {"features": ["x"]}}, "older.0.context"),
    ],
)
def test_older_schema_that_cannot_be_read_is_refused(features: list[Any], older: Any, said: str) -> None:
    with pytest.raises(InvalidSchema, match=said):
        grown(*features, older=older)


def test_metadata_keeps_older_schemas() -> None:
    schema = grown("age", {"name": "spend", "type": "int64"}, older={"user": {"features": ["age"]}})
    copy = FeatureSchema.from_mapping(json.loads(json.dumps(schema.to_metadata())))
    assert copy.older_vectors("user")[0].fingerprint == schema.older_vectors("user")[0].fingerprint
    assert copy.to_metadata() == schema.to_metadata()
