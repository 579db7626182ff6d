"""Values become float32 columns and come back unchanged, whatever their type."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.errors import UnusableValue
from ranker.vectors.feature import Feature
from ranker.vectors.feature.columns import Elements, to_columns, to_elements
from ranker.vectors.feature.draws import draw
from ranker.vectors.feature.shown import show
from ranker.vectors.feature.values import default_columns, parse, parse_all, parse_text

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
BOTTOM, TOP = -(1 << 63), (1 << 63) - 1


def feature(**what: Any) -> Feature:
    return Feature(name="f", **what)


BRAND = feature(type="category", vocabulary=["nike", "puma"], unknown=-1)
TEXT = feature(type="text", length=7)
VIEWED = feature(type="product", length=3)
TASTE = feature(shape=[2, 2])
PAIRS = feature(length=3, shape=[2])
KINDS = [feature(type=t) for t in ("float32", "float16", "int32", "int64", "bool")]
ALL = [
    *KINDS,
    BRAND,
    TEXT,
    VIEWED,
    TASTE,
    PAIRS,
    feature(type="int64", shape=[3]),
    feature(type="category", vocabulary=["a"], length=2),
]


@pytest.mark.parametrize(
    ("one", "width"),
    [
        *zip(KINDS, (1, 1, 2, 3, 1), strict=True),
        (BRAND, 1),
        (TEXT, 3),
        (VIEWED, 10),
        (TASTE, 4),
        (PAIRS, 7),
        (feature(type="int64", shape=[3]), 9),
        (feature(type="text", length=6), 2),
    ],
)
def test_width_is_what_the_types_elements_take(one: Feature, width: int) -> None:
    assert one.width == width == len(one.column_names) == len(default_columns(one))


@given(st.lists(INT64, min_size=1, max_size=5))
def test_whole_numbers_of_64_bits_survive_float32(numbers: list[int]) -> None:
    one = feature(type="int64")
    columns = to_columns(one, Elements(np.array(numbers)[:, np.newaxis]))
    assert (columns.dtype, columns.shape) == (np.float32, (len(numbers), 3))
    assert to_elements(one, columns).items[:, 0].tolist() == numbers
    assert [show(one, row) for row in columns] == numbers


@given(INT32)
def test_digits_of_a_whole_number_add_up_to_it(number: int) -> None:
    first, second = parse(feature(type="int32"), number).tolist()
    assert 0 <= first < 1 << 22
    assert first + second * (1 << 22) == number


@pytest.mark.parametrize("number", [BOTTOM, -1, 0, 16_777_217, TOP])
def test_digits_of_64_bits_add_up_to_it(number: int) -> None:
    first, second, third = map(int, parse(feature(type="int64"), number))
    assert min(first, second) >= 0
    assert first + (second << 22) + (third << 44) == number


@pytest.mark.parametrize(
    ("one", "value", "columns"),
    [
        (BRAND, "puma", [1]),
        (BRAND, "asics", [-1]),
        (feature(type="category", vocabulary=["7", "8"]), 8, [1]),
        (feature(type="bool"), True, [1]),
        (feature(type="float16"), 0.1, [np.float16(0.1)]),
        (TASTE, [[1, 2], [3, 4]], [1, 2, 3, 4]),
        (VIEWED, [5, 1 << 23], [2, 5, 0, 0, 0, 2, 0, 0, 0, 0]),
        (VIEWED, ["5", 6, 7, 8], [3, 5, 0, 0, 6, 0, 0, 7, 0, 0]),
        (VIEWED, [], [0] * 10),
        (PAIRS, [[1, 2]], [1, 1, 2, 0, 0, 0, 0]),
        (TEXT, "ab", [0x6261, 0, 0]),
    ],
)
def test_value_has_these_columns(one: Feature, value: Any, columns: list[float]) -> None:
    assert parse(one, value).tolist() == columns
    all_at_once, unusable = parse_all(one, [value, value])
    assert (all_at_once.tolist(), unusable) == ([columns, columns], {})


@pytest.mark.parametrize(
    ("one", "value"),
    [
        (feature(), 1.5),
        (BRAND, "nike"),
        (TEXT, "grün"),
        (VIEWED, [3, 2, 1]),
        (TASTE, [[1.0, 2.0], [3.0, 4.0]]),
        (PAIRS, [[1.0, 2.0], [3.0, 4.0]]),
        (feature(type="bool"), False),
        (feature(type="int64", shape=[3]), [BOTTOM, 0, TOP]),
        (feature(type="category", vocabulary=["a"], length=2), ["a", "a"]),
    ],
)
def test_value_is_shown_as_it_was_given(one: Feature, value: Any) -> None:
    assert show(one, parse(one, value)) == value


@pytest.mark.parametrize(
    ("one", "value", "reason"),
    [
        (feature(), "1", "'1' is no number"),
        (feature(), 1e39, "1e\\+39 is beyond float32"),
        (feature(), float("inf"), "inf is beyond float32"),
        (feature(), None, "a value is missing"),
        (feature(missing="refuse"), None, "a value is missing"),
        (feature(type="float16"), 70000, "70000 is beyond float16"),
        (feature(type="int32"), 1 << 31, "2147483648 is beyond int32"),
        (feature(type="int64"), 1.5, "1.5 is no whole number"),
        (feature(type="int64"), 2.0**60, "is no whole number"),
        (feature(type="int64"), 1 << 63, "is beyond int64"),
        (feature(type="bool"), 2, "2 is beyond bool"),
        (feature(type="category", vocabulary=["a"]), "b", "'b' is not in the vocabulary"),
        (BRAND, 1.5, "1.5 is no category, which is a text"),
        (TEXT, "12345678", "'12345678' takes more than its 7 bytes"),
        (TEXT, 5, "5 is no text"),
        (TASTE, [[1, 2], [3]], "has not the shape"),
        (TASTE, [1, 2, 3, 4], "has not the shape"),
        (VIEWED, 5, "5 is no list"),
        (VIEWED, ["x"], "'x' is no number"),
    ],
)
def test_unusable_value_is_refused_with_its_reason(one: Feature, value: Any, reason: str) -> None:
    with pytest.raises(UnusableValue, match=reason):
        parse(one, value)
    good = show(one, draw(one, 1, np.random.default_rng(0))[0])
    _, unusable = parse_all(one, [good, value])
    assert set(unusable) == {1}


@pytest.mark.parametrize(
    ("one", "text", "value"),
    [
        (feature(type="int64"), "9223372036854775807", TOP),
        (feature(type="bool"), "true", True),
        (BRAND, "puma", "puma"),
        (TEXT, " a", " a"),
        (TASTE, "[[1,2],[3,4]]", [[1, 2], [3, 4]]),
        (VIEWED, "[9, 8]", [9, 8]),
        (feature(), " 1.5 ", 1.5),
    ],
)
def test_text_is_read_as_its_feature_says(one: Feature, text: str, value: Any) -> None:
    assert show(one, parse_text(one, text)) == value


@pytest.mark.parametrize(
    ("one", "text"), [(feature(), "1_0"), (feature(type="int64"), "x"), (TASTE, "1,2"), (VIEWED, "5")]
)
def test_text_that_says_nothing_is_refused(one: Feature, text: str) -> None:
    with pytest.raises(UnusableValue):
        parse_text(one, text)


@pytest.mark.parametrize(
    ("one", "columns"),
    [
        (feature(shape=[2], default=1.5), [1.5, 1.5]),
        (feature(shape=[2], default=[1, 2]), [1, 2]),
        (feature(type="category", vocabulary=["a", "b"], default="b"), [1]),
        (feature(type="category", vocabulary=["a", "b"], default=-1), [-1]),
        (feature(type="int64", default=1 << 44), [0, 0, 1]),
        (feature(type="product", length=2, default=[7]), [1, 7, 0, 0, 0, 0, 0]),
        (feature(type="bool", default=True), [1]),
        (feature(shape=[2], missing="nan"), [np.nan, np.nan]),
    ],
)
def test_default_is_a_value_of_the_type(one: Feature, columns: list[float]) -> None:
    assert np.array_equal(default_columns(one), np.array(columns, np.float32), equal_nan=True)


def test_absent_value_takes_what_the_schema_says() -> None:
    assert parse(feature(missing="default", default=3), None).tolist() == [3]
    assert np.isnan(parse(feature(missing="nan"), None)).all()
    assert show(feature(missing="nan"), np.array([np.nan], np.float32)) is None


@pytest.mark.parametrize("one", ALL, ids=str)
def test_drawn_values_are_values_of_their_type(one: Feature) -> None:
    columns = draw(one, 20, np.random.default_rng(0))
    assert (columns.shape, columns.dtype) == ((20, one.width), np.float32)
    again, unusable = parse_all(one, [show(one, row) for row in columns])
    assert not unusable
    assert again.tolist() == columns.tolist()


@pytest.mark.parametrize("one", ALL, ids=str)
def test_columns_and_elements_are_each_others_inverse(one: Feature) -> None:
    columns = draw(one, 20, np.random.default_rng(1))
    assert to_columns(one, to_elements(one, columns)).tolist() == columns.tolist()


def test_number_beyond_float16_is_infinite_without_a_warning() -> None:
    columns = to_columns(feature(type="float16"), Elements(np.array([[1e6], [-1e6], [65504.0]])))
    assert columns[:, 0].tolist() == [np.inf, -np.inf, 65504]


def test_sequences_are_counted_in_whole_numbers() -> None:
    counts = to_elements(VIEWED, np.array([parse(VIEWED, [7, 8]), parse(VIEWED, [])])).counts
    assert counts is not None
    assert (counts.tolist(), counts.dtype) == ([2, 0], np.int64)
