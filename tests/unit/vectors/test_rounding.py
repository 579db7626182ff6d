"""Whole numbers that float32 changes are found, whatever they are held in, and nothing else is."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ranker.vectors.rounding import find_changed, find_changed_in, is_changed

NUMPY = orjson.OPT_SERIALIZE_NUMPY
EDGES = [0, 1, 2**24 - 1, 2**24, 2**24 + 1, 2**24 + 2, 2**25 + 1, 2**53, 2**53 + 1, 1764341743, 2**62, 2**62 + 2**38]
INTEGERS = st.sampled_from(EDGES) | st.integers(-(2**63), 2**63 - 1)


def differs(number: int) -> bool:
    """Compare as fractions, which nothing rounds."""
    return Fraction(float(np.float32(number))) != number


@example(EDGES)
@given(st.lists(INTEGERS | st.sampled_from([-(2**63), 2**63 - 1]), min_size=1, max_size=5))
def test_signed_integers_that_float32_changes_are_found(numbers: list[int]) -> None:
    found = find_changed(np.array(numbers, np.int64))
    assert (found is None) == (not any(map(differs, numbers)))
    assert found is None or found.tolist() == list(map(differs, numbers))
    assert [is_changed(number) for number in numbers] == list(map(differs, numbers))
    assert [is_changed(f" {number} ") for number in numbers] == list(map(differs, numbers))
    assert [is_changed(Decimal(f"{number}.00")) for number in numbers] == list(map(differs, numbers))


@given(st.lists(st.integers(0, 2**64 - 1) | st.sampled_from([2**63, 2**64 - 1]), min_size=1, max_size=5))
def test_unsigned_integers_that_float32_changes_are_found(numbers: list[int]) -> None:
    found = find_changed(np.array(numbers, np.uint64))
    assert ([False] * len(numbers) if found is None else found.tolist()) == list(map(differs, numbers))


@given(st.floats(allow_nan=True, allow_infinity=True) | INTEGERS.map(float))
def test_floats_are_found_when_they_are_whole_and_float32_holds_another_number(number: float) -> None:
    with np.errstate(over="ignore"):
        single = float(np.float32(number))
    expected = np.isfinite(single) and abs(number) > 2**24 and number == np.trunc(number) and single != number
    found = find_changed(np.array([[0.5, number]]))
    assert (found is not None) == expected
    if found is not None:
        assert found.tolist() == [[False, True]]


@given(st.floats(width=32, allow_infinity=False, allow_nan=False))
def test_text_of_a_float32_is_no_change_however_it_is_written(number: float) -> None:
    single = np.float32(number)
    for text in (str(single), repr(float(single)), f"{float(single):.1f}", orjson.dumps(single, option=NUMPY).decode()):
        assert not is_changed(text)


@pytest.mark.parametrize("text", ["16777217.0", "1764341743.0", "9007199254740993.0", "1.6777217e7", "-16777217.00"])
def test_text_with_a_point_that_is_no_float32s_is_a_change(text: str) -> None:
    assert is_changed(text)


@pytest.mark.parametrize("text", ["123456790", "+123456790", "-123456790"])
def test_text_of_a_whole_number_is_a_change_even_where_a_float32_is_written_with_its_digits(text: str) -> None:
    assert is_changed(text)
    assert not is_changed(f"{text}.0")


@pytest.mark.parametrize("number", [2**64 + 1, 2**100 + 1, -(10**30) - 1, "18446744073709551617", Decimal("1e20")])
def test_numbers_beyond_every_integer_type_are_looked_at_exactly(number: int | Decimal | str) -> None:
    assert is_changed(number)


@pytest.mark.parametrize(
    "number", [2**64, 2**100, "1e300", "1e999999999", "-Infinity", "nan", "x", "", "0.1", "1e20", True]
)
def test_what_is_no_whole_number_of_float32s_range_is_not_found(number: int | str) -> None:
    assert not is_changed(number)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.uint16, np.bool_])
def test_arrays_that_float32_holds_have_nothing_to_find(dtype: type) -> None:
    assert find_changed(np.array([0, 1, 100], dtype)) is None
    assert find_changed(np.array([], dtype)) is None


def test_float32_array_is_what_it_is() -> None:
    assert find_changed(np.array([16777218, 1e30, np.inf, np.nan], np.float32)) is None


def test_signalling_nan_is_looked_at_without_a_warning() -> None:
    signalling = np.array([0x7FF0000000000001], np.uint64).view(np.float64)
    assert find_changed(signalling) is None


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (2**24, None),
        (2**24 + 1, 2**24 + 1),
        (-(2**24) - 1, -(2**24) - 1),
        (16777217.0, 16777217.0),
        (16777217.5, None),
        (123456790, 123456790),
        (123456790.0, None),  # as a float32 is written
        (True, None),
        (None, None),
        ("16777217", None),
        ([], None),
        ([1, (2.5, "x"), None], None),
        ([1, [2, 16777217], 33554433], 16777217),
        ((1, 33554433, 16777217), 33554433),
    ],
)
def test_first_number_of_a_value_that_float32_changes_is_found(value: Any, found: float | None) -> None:
    assert find_changed_in(value) == found
    assert type(find_changed_in(value)) is type(found)
