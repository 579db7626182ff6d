import math
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ranker.errors import CorruptVector, FeatureError, WrongWidth
from ranker.vectors.group import Format, ProductSchema
from ranker.vectors.rows import RowStatus
from ranker.vectors.stored.decoding import LONGEST_BYTES, LONGEST_VALUE_BYTES
from ranker.vectors.stored.encoding import encode
from ranker.vectors.stored.formats import Decoder, decoder_for

FOUND, MISSING, CORRUPT = RowStatus.FOUND, RowStatus.MISSING, RowStatus.CORRUPT
OTHERS: list[Format] = ["float32", "float64", "msgpack", "hash"]
wide = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 5), st.just(3)), elements=st.floats(allow_nan=True, allow_infinity=True)
)


def decoder(stored: Format, *features: Any) -> Decoder:
    return decoder_for(ProductSchema(format=stored, features=features or ("a", "b", "c")), 7)


def write(stored: Format, row: list[float]) -> Any:
    """Write a row as another system would."""
    if stored == "msgpack":
        return msgpack.packb(row)
    if stored == "hash":
        return [repr(x).encode() for x in row]
    return np.array(row, dtype="<f4" if stored == "float32" else "<f8").tobytes()


@pytest.mark.parametrize("stored", OTHERS)
@given(wide)
def test_every_format_gives_the_float32_of_the_same_numbers_unless_one_is_infinite(
    stored: Format, matrix: np.ndarray
) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        expected = matrix.astype(np.float32)
        rows = decoder(stored).decode([write(stored, row) for row in matrix.tolist()])
    usable = ~np.isinf(expected).any(axis=1)
    assert rows.statuses.tolist() == np.where(usable, FOUND, CORRUPT).tolist()
    assert rows.complete == usable.all()
    assert (rows.values.dtype, rows.statuses.dtype) == (np.float32, np.uint8)
    assert np.array_equal(rows.values[usable], expected[usable], equal_nan=True)


@pytest.mark.parametrize("stored", OTHERS)
def test_missing_and_broken_values_are_marked_and_neighbours_are_not(stored: Format) -> None:
    good, short, long = (write(stored, row) for row in ([1, 2, 3], [1, 2], [1, 2, 3, 4]))
    absent = [None] * 3 if stored == "hash" else None
    broken = [b"1", b"x", b"3"] if stored == "hash" else good[:-1]
    rows = decoder(stored).decode([good, absent, broken, good, *([short, long] if stored != "hash" else [[], []])])
    assert rows.statuses.tolist() == [FOUND, MISSING, CORRUPT, FOUND, CORRUPT, CORRUPT]
    assert not rows.complete
    assert rows.values[[0, 3]].tolist() == [[1, 2, 3]] * 2


@pytest.mark.parametrize("stored", OTHERS)
def test_nothing_decodes_to_no_rows(stored: Format) -> None:
    assert decoder(stored).decode([]).values.shape == (0, 3)


@pytest.mark.parametrize("stored", ["float32", "float64", "msgpack"])
@given(value=st.binary(max_size=40))
def test_any_bytes_are_a_row_or_a_status(stored: Format, value: bytes) -> None:
    rows = decoder(stored).decode([value])
    assert rows.complete == (rows.statuses[0] == FOUND)


@given(st.lists(st.none() | st.binary(max_size=8) | st.just(b"1"), min_size=3, max_size=3))
def test_any_fields_are_a_row_or_a_status(value: list[bytes | None]) -> None:
    rows = decoder("hash").decode([value])
    assert rows.complete == (rows.statuses[0] == FOUND)


@pytest.mark.parametrize("stored", ["float32", "float64"])
def test_raw_vectors_are_little_endian_and_checked_by_their_length_and_for_infinities(stored: Format) -> None:
    size = 4 if stored == "float32" else 8
    value = np.array([1, -2, 0.5], dtype=f"<f{size}").tobytes()
    assert decoder(stored).decode_one(value).tolist() == [1, -2, 0.5]
    assert decoder(stored).decode([b"0" * 3 * size]).complete  # whatever the bytes mean
    assert decoder(stored).decode([value, np.array([1, np.inf, 0], f"<f{size}").tobytes()]).statuses.tolist() == [0, 3]
    for wrong, error in ((value[:-size], WrongWidth), (value + value, WrongWidth), (value[:-1], CorruptVector)):
        with pytest.raises(error):
            decoder(stored).decode_one(wrong)


@pytest.mark.parametrize(
    ("value", "row"),
    [
        (msgpack.packb([1, -200, 0.5]), [1, -200, 0.5]),
        (msgpack.packb([1, -200, 0.5], use_single_float=True), [1, -200, 0.5]),
        (msgpack.packb([2**63, 0, math.nan]), [2**63, 0, math.nan]),
        (b"\xdd\x00\x00\x00\x03\x01\x02\x03", [1, 2, 3]),  # a list with a long header
    ],
)
def test_msgpack_numbers_of_every_kind_are_read(value: bytes, row: list[float]) -> None:
    assert np.array_equal(decoder("msgpack").decode_one(value), row, equal_nan=True)


@pytest.mark.parametrize(
    "value",
    [
        msgpack.packb([1, 2, True]),
        msgpack.packb([1, 2, "3"]),
        msgpack.packb([1, 2, None]),
        msgpack.packb([1, 2]),
        msgpack.packb([1, 2, math.inf]),
        msgpack.packb([1, 2, 1e300]),
        msgpack.packb({"a": 1}),
        msgpack.packb(5),
        msgpack.packb([1, 2, 3]) + b"\0",
        msgpack.packb([1, 2, msgpack.ExtType(5, b"x")]),
        b"",
        b"\xc1",
        b"\x91" * 5000,
        b"\xa1\xff",
        b"\xdd\xff\xff\xff\xff",
        b"[1, 2, 3]",
        encode([[1, 2, 3]], 7)[0],
    ],
)
def test_msgpack_that_is_no_list_of_numbers_is_refused(value: bytes) -> None:
    with pytest.raises(FeatureError):
        decoder("msgpack").decode_one(value)


@pytest.mark.parametrize("value", [b"nan", b"007", b" 1 ", b"+1", b".5"])
def test_hash_fields_are_what_python_reads_as_a_number(value: bytes) -> None:
    row = decoder("hash").decode_one([b"1", value, b"3"])
    assert np.array_equal(row, np.array([1, float(value), 3], dtype=np.float32), equal_nan=True)


@pytest.mark.parametrize("value", [b"", b"x", b"true", b"null", b"[2]", b'"2"', b"1,2", b"0x1p3", b"\xff", b"1_0"])
def test_hash_field_that_is_no_number_is_named(value: bytes) -> None:
    with pytest.raises(CorruptVector, match="field 'b' holds"):
        decoder("hash").decode_one([b"1", value, b"3"])


@pytest.mark.parametrize("value", [b"1e400", b"-inf", b"Infinity", b"1e39"])
def test_hash_field_that_is_infinite_makes_the_vector_corrupt(value: bytes) -> None:
    with pytest.raises(CorruptVector, match="a value is infinite, or beyond float32"):
        decoder("hash").decode_one([b"1", value, b"3"])


@pytest.mark.parametrize(
    "value", [[b"1,2", b"3", None], [b"[1", b"2]", b"3"], [b'"1', b'2"', b"3"], [b"1,", b"", b"2"]]
)
def test_hash_fields_cannot_stand_in_for_each_other(value: list[bytes | None]) -> None:
    with pytest.raises(CorruptVector):
        decoder("hash").decode_one(value)
    with pytest.raises(CorruptVector):
        decoder("hash", "a", "b", {"name": "c", "default": 0}).decode_one(value)


def test_hash_may_lack_a_field_that_has_a_default_and_no_other() -> None:
    features = ("a", {"name": "b", "default": 2.5})
    assert decoder("hash", *features).decode_one([b"1", None]).tolist() == [1, 2.5]
    with pytest.raises(CorruptVector, match="no field 'a', and the schema no default"):
        decoder("hash", *features).decode_one([None, b"2"])
    assert decoder("hash", *features).decode([[None, None]]).statuses.tolist() == [MISSING]
    assert decoder("hash", *features[::-1]).decode([[None, b"1"]]).values.tolist() == [[2.5, 1]]


def test_key_that_holds_no_hash_is_corrupt() -> None:
    with pytest.raises(CorruptVector, match="holds no hash"):
        decoder("hash").decode_one([])


def test_msgpack_and_hashes_are_read_up_to_a_length_that_goes_by_their_width() -> None:
    longest = LONGEST_BYTES + 3 * LONGEST_VALUE_BYTES
    padded = msgpack.packb([1, 2, "x" * (longest - 6)])  # 6 bytes beside the text
    assert len(padded) == longest
    with pytest.raises(CorruptVector, match="not a number"):
        decoder("msgpack").decode_one(padded)
    with pytest.raises(CorruptVector, match="too many for 3 values"):
        decoder("msgpack").decode_one(padded + b"\0")
    fields = [b"1", b"2", b"3".rjust(longest - 2)]
    assert decoder("hash").decode_one(fields).tolist() == [1, 2, 3]
    with pytest.raises(CorruptVector, match="too many for 3 values"):
        decoder("hash").decode_one([b"1", b"2 ", fields[2]])
