import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ranker.errors import CorruptVector, WrongFingerprint, WrongWidth
from ranker.vectors.group import ProductSchema
from ranker.vectors.rows import RowStatus, Unread
from ranker.vectors.stored.decoding import LONGEST_BYTES, LONGEST_VALUE_BYTES, RowDecoder
from ranker.vectors.stored.encoding import encode, make_header, make_keys

FINGERPRINT = 0xDEADBEEF
finite_or_nan = st.floats(width=32, allow_nan=True, allow_infinity=False)
matrices = st.integers(1, 9).flatmap(
    lambda width: hnp.arrays(np.float32, st.tuples(st.integers(1, 8), st.just(width)), elements=finite_or_nan)
)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.astype("<f4").tobytes() == b.astype("<f4").tobytes()


@given(matrices)
def test_binary_round_trip_is_bit_exact(matrix: np.ndarray) -> None:
    rows = RowDecoder(matrix.shape[1], FINGERPRINT).decode(encode(matrix, FINGERPRINT))
    assert rows.complete
    assert same_bits(rows.values, matrix)


@given(matrices, st.sampled_from([1, 2]))
def test_json_and_json_in_json_decode_like_the_standard_library(matrix: np.ndarray, nesting: int) -> None:
    values = []
    for row in matrix.tolist():
        text = json.dumps(row)  # writes NaN, as the usual writers do
        values.append((text if nesting == 1 else json.dumps(text)).encode())
    rows = RowDecoder(matrix.shape[1], FINGERPRINT).decode(values)
    assert rows.complete
    assert np.array_equal(rows.values, matrix, equal_nan=True)


@given(st.binary(max_size=64))
def test_any_bytes_decode_to_a_row_or_a_status(value: bytes) -> None:
    rows = RowDecoder(3, FINGERPRINT).decode([value])
    assert len(rows) == 1
    assert rows.complete == (rows.statuses[0] == RowStatus.FOUND)


def test_mixed_answer_marks_each_row_and_fails_none() -> None:
    good = encode([[1.0, 2.0]], FINGERPRINT)[0]
    values = [
        good,
        None,
        encode([[1.0, 2.0]], FINGERPRINT + 1)[0],
        good[:-1],
        b"[3, 4]",
        b'"[5, 6]"',
        b"",
        b"[1]",
        b"[1, true]",
        b'[1, "2"]',
        b"[[1], 2]",
        b"garbage",
        encode([[7.0, 8.0]], FINGERPRINT, "float16")[0],
    ]
    rows = RowDecoder(2, FINGERPRINT).decode(values)
    found, missing, wrong, corrupt = RowStatus.FOUND, RowStatus.MISSING, RowStatus.WRONG_SCHEMA, RowStatus.CORRUPT
    assert rows.statuses.tolist() == [
        found, missing, wrong, corrupt, found, found, corrupt, corrupt, corrupt, corrupt, corrupt, corrupt, found,
    ]  # fmt: skip
    assert not rows.complete
    assert rows.values[[0, 4, 5, 12]].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]


def test_value_that_cannot_be_had_now_is_unread_and_says_why() -> None:
    unread = Unread("it is down")
    good = encode([[1.0, 2.0]], FINGERPRINT)[0]
    rows = RowDecoder(2, FINGERPRINT).decode([good, unread, None])  # type: ignore[list-item]  # as a store gives it
    assert rows.statuses.tolist() == [RowStatus.FOUND, RowStatus.UNREAD, RowStatus.MISSING]
    assert unread.reason == "it is down"


def test_lengths_that_cancel_out_are_not_read_across_rows() -> None:
    long, short = encode([[1.0, 2.0]], FINGERPRINT)[0] + b"\0" * 4, encode([[3.0, 4.0]], FINGERPRINT)[0][:-4]
    rows = RowDecoder(2, FINGERPRINT).decode([long, short])
    assert rows.statuses.tolist() == [RowStatus.CORRUPT, RowStatus.CORRUPT]


INFINITE = [
    encode([[np.inf, 2.0]], FINGERPRINT)[0],
    encode([[1.0, -np.inf]], FINGERPRINT)[0],
    encode([[np.nan, np.inf]], FINGERPRINT)[0],
    encode([[np.inf, 2.0]], FINGERPRINT, "float16")[0],
    b"[1, 1e300]",
    b"[1, -1e39]",
    b"[1, Infinity]",
    b'"[-Infinity, 2]"',
]


@pytest.mark.parametrize("infinite", INFINITE)
def test_infinite_values_make_their_row_corrupt_and_no_other(infinite: bytes) -> None:
    decoder = RowDecoder(2, FINGERPRINT)
    good, missing_number = encode([[1.0, 2.0], [np.nan, 3.0]], FINGERPRINT)
    rows = decoder.decode([good, infinite, missing_number])
    assert rows.statuses.tolist() == [RowStatus.FOUND, RowStatus.CORRUPT, RowStatus.FOUND]
    assert not rows.complete
    assert same_bits(rows.values[[0, 2]], np.array([[1, 2], [np.nan, 3]], np.float32))
    assert decoder.decode([good, missing_number]).complete
    with pytest.raises(CorruptVector, match="a value is infinite, or beyond float32"):
        decoder.decode_one(infinite)


@pytest.mark.parametrize("space", [b" ", b"\n\t\r ", b"  "])
@pytest.mark.parametrize("text", [b"[1, 2]", b'"[1, 2]"', b'" [1, 2]\\n"', b"[NaN, 2]"])
def test_json_may_stand_between_white_space(space: bytes, text: bytes) -> None:
    decoder = RowDecoder(2, FINGERPRINT)
    expected = decoder.decode_one(text)
    for value in (space + text, text + space, space + text + space):
        assert np.array_equal(decoder.decode_one(value), expected, equal_nan=True)


def test_value_that_is_cut_within_a_number_says_so() -> None:
    for dtype in ("float32", "float16"):
        (vector,) = encode([[1.0, 2.0]], FINGERPRINT, dtype)
        for value in (vector + b"\0", vector[:-1]):
            with pytest.raises(CorruptVector, match="no whole number of"):
                RowDecoder(2, FINGERPRINT).decode_one(value)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b"RV", CorruptVector),
        (b"RV\x02\x01" + b"\0" * 8, CorruptVector),
        (b"RV\x01\x09" + b"\0" * 8, CorruptVector),
        (make_header(5) + b"\0" * 4, WrongFingerprint),
        (make_header(0) + b"\0" * 8, WrongWidth),
        (make_header(0), WrongWidth),
        (make_header(0)[:-1], CorruptVector),
        (b"[1, 2]", WrongWidth),
        (b"[" * 100_000, CorruptVector),
        (b'"\\ud800"', CorruptVector),
        (b'{"a": 1}', CorruptVector),
        (b'"[1]x', CorruptVector),
        (b'[[1]"', CorruptVector),
        (b"[1" + b"0" * 5000 + b"]", CorruptVector),
    ],
)
def test_unusable_value_says_why(value: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        RowDecoder(1, 0).decode_one(value)


def test_value_is_read_up_to_a_length_that_goes_by_its_width() -> None:
    decoder, longest = RowDecoder(2, FINGERPRINT), LONGEST_BYTES + 2 * LONGEST_VALUE_BYTES
    assert decoder.decode_one(b"[1, 2]".ljust(longest)).tolist() == [1, 2]
    with pytest.raises(CorruptVector, match="too many for 2 values"):
        decoder.decode_one(b"[1, 2]".ljust(longest + 1))


@pytest.mark.parametrize("n", [1, 1024, 1025, 3000])
def test_statuses_of_rows_that_are_all_found_are_shared_and_cannot_be_written(n: int) -> None:
    decoder = RowDecoder(1, FINGERPRINT)
    rows = decoder.decode(encode([[1.0]], FINGERPRINT) * n)
    assert (rows.statuses.dtype, rows.statuses.shape) == (np.uint8, (n,))
    assert not rows.statuses.any()
    assert np.shares_memory(rows.statuses, decoder.decode(encode([[2.0]], FINGERPRINT)).statuses)
    with pytest.raises(ValueError, match="read-only"):
        rows.statuses[0] = RowStatus.CORRUPT


def test_keys_follow_the_template() -> None:
    assert make_keys(ProductSchema(features=("a",)), ["1", "é"]) == ["product:1", "product:é"]
    assert make_keys(ProductSchema(key="{shop}:{id}:v2", features=("a",)), ["1"]) == ["{shop}:1:v2"]
