import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ranker.decoding import RowDecoder
from ranker.encoding import RowStatus, encode, header, keys
from ranker.errors import CorruptVector, WrongFingerprint, WrongWidth
from ranker.schema import ProductSchema

FINGERPRINT = 0xDEADBEEF
finite = st.floats(width=32, allow_nan=True, allow_infinity=True)
matrices = st.integers(1, 9).flatmap(
    lambda width: hnp.arrays(np.float32, st.tuples(st.integers(1, 8), st.just(width)), elements=finite)
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
        text = json.dumps(row)  # writes NaN and Infinity, as the usual writers do
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


def test_lengths_that_cancel_out_are_not_read_across_rows() -> None:
    long, short = encode([[1.0, 2.0]], FINGERPRINT)[0] + b"\0" * 4, encode([[3.0, 4.0]], FINGERPRINT)[0][:-4]
    rows = RowDecoder(2, FINGERPRINT).decode([long, short])
    assert rows.statuses.tolist() == [RowStatus.CORRUPT, RowStatus.CORRUPT]


def test_number_beyond_float32_becomes_infinite() -> None:
    assert RowDecoder(1, 0).decode_one(b"[1e300]").tolist() == [float("inf")]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b"RV", CorruptVector),
        (b"RV\x02\x01" + b"\0" * 8, CorruptVector),
        (b"RV\x01\x09" + b"\0" * 8, CorruptVector),
        (header(5) + b"\0" * 4, WrongFingerprint),
        (header(0) + b"\0" * 8, WrongWidth),
        (b"[1, 2]", WrongWidth),
        (b"[" * 100_000, CorruptVector),
        (b'"\\ud800"', CorruptVector),
        (b'{"a": 1}', CorruptVector),
        (b"[1" + b"0" * 5000 + b"]", CorruptVector),
    ],
)
def test_unusable_value_says_why(value: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        RowDecoder(1, 0).decode_one(value)


def test_keys_follow_the_template() -> None:
    assert keys(ProductSchema(features=("a",)), ["1", "é"]) == ["product:1", "product:é"]
    assert keys(ProductSchema(key="{shop}:{id}:v2", features=("a",)), ["1"]) == ["{shop}:1:v2"]
