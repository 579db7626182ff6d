"""Values of a feature, one or many at once: which are taken, and that both ways say the same of each."""

from typing import Any

import numpy as np
import pytest

from ranker.errors import UnusableValue
from ranker.vectors.feature import Feature
from ranker.vectors.feature.values import default_columns, parse, parse_all, parse_text

BOTTOM, TOP = -(1 << 63), (1 << 63) - 1


def feature(**what: Any) -> Feature:
    return Feature(name="f", **what)


BRAND = feature(type="category", vocabulary=["nike", "puma"], unknown=-1)
BRANDS = feature(type="category", vocabulary=["nike", "puma"], shape=[2])
TEXT = feature(type="text", length=7)
VIEWED = feature(type="product", length=3)
PAIRS = feature(length=3, shape=[2])
TASTE = feature(shape=[2, 2])


@pytest.mark.parametrize(
    ("one", "value", "reason"),
    [
        (BRAND, ["nike"], r"\['nike'\] is no category"),
        (BRANDS, "nike", "has not the shape"),
        (TEXT, 5, "5 is no text"),
        (VIEWED, 5, "5 is no list"),
        (PAIRS, [1, 2], "has not the shape"),
        (TASTE, [1, 2, 3, 4], "has not the shape"),
        (feature(type="bool"), 0.5, "0.5 is beyond bool"),
        (feature(type="int64"), 1.5, "1.5 is no whole number"),
        (feature(type="int32"), 1 << 31, "2147483648 is beyond int32"),
        (feature(type="float16"), 65505, "65505 is beyond float16"),
        (TASTE, [[1, 10**400], [3, 4]], "10{39} is beyond float32"),
        pytest.param(feature(type="bool"), 10**400, "10{39} is beyond bool", id="bool of 400 digits"),
        pytest.param(feature(type="int64"), 10**400, "10{39} is beyond int64", id="int64 of 400 digits"),
    ],
)
def test_values_that_are_all_unusable_are_each_refused_with_the_reason(one: Feature, value: Any, reason: str) -> None:
    columns, unusable = parse_all(one, [value, value])
    assert (columns.shape, list(unusable)) == ((2, one.width), [0, 1])
    for refused in unusable.values():
        with pytest.raises(UnusableValue, match=reason):
            raise refused


def test_category_is_looked_up_without_a_look_at_the_whole_vocabulary() -> None:
    class Text(str):
        hashed = 0

        def __hash__(self) -> int:
            Text.hashed += 1
            return super().__hash__()

    vocabulary = tuple(Text(f"brand-{i}") for i in range(1000))
    brand = feature(type="category", vocabulary=["a"], unknown=-1).model_copy(update={"vocabulary": vocabulary})
    assert parse(brand, "brand-7").tolist() == [7]
    Text.hashed = 0
    assert parse_all(brand, ["brand-999", "brand-3"])[0].tolist() == [[999], [3]]
    assert parse(brand, "other").tolist() == [-1]
    assert Text.hashed == 0


def test_a_list_among_categories_is_refused_and_its_neighbours_are_kept() -> None:
    columns, unusable = parse_all(BRAND, ["puma", ["puma"], "nike"])
    assert list(unusable) == [1]
    assert columns[[0, 2], 0].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("one", "values"),
    [
        (BRAND, ["nike", "puma"]),
        (BRAND, ["nike", "asics"]),
        (feature(type="bool"), [True, False]),
        (feature(), [1, 2]),
        (feature(type="int64"), [BOTTOM, TOP]),
        (VIEWED, [[1], []]),
        (TEXT, ["a", "b"]),
    ],
)
def test_columns_are_float32_whichever_way_values_take(one: Feature, values: list[Any]) -> None:
    columns, unusable = parse_all(one, values)
    assert (columns.dtype, columns.shape, unusable) == (np.float32, (2, one.width), {})
    assert columns.tolist() == [parse(one, value).tolist() for value in values]


@pytest.mark.parametrize(
    "one", [feature(), feature(type="bool"), feature(type="int64"), BRAND, BRANDS, TASTE, VIEWED, TEXT]
)
def test_no_values_have_no_columns(one: Feature) -> None:
    columns, unusable = parse_all(one, [])
    assert (columns.dtype, columns.shape, unusable) == (np.float32, (0, one.width), {})


@pytest.mark.parametrize(
    ("one", "columns"),
    [
        (feature(missing="nan"), [np.nan]),
        (feature(type="category", vocabulary=["a", "b"], default=-1), [-1]),
        (feature(length=3, default=[7, 8]), [2, 7, 8, 0]),
        (feature(type="int64"), [0, 0, 0]),
    ],
)
def test_default_has_float32_columns(one: Feature, columns: list[float]) -> None:
    made = default_columns(one)
    assert made.dtype == np.float32
    assert np.array_equal(made, columns, equal_nan=True)


@pytest.mark.parametrize(
    ("said", "absent", "reason"),
    [
        ({"shape": [2]}, [1, None], "None is no number"),
        ({"type": "category", "vocabulary": ["x"], "shape": [2]}, ["x", None], "None is no category"),
        ({"type": "bool", "shape": [2]}, [True, None], "None is no number"),
        ({"type": "float16", "shape": [2]}, [1, None], "None is no number"),
    ],
)
def test_absent_element_is_nan_only_where_the_schema_says_so(said: dict[str, Any], absent: Any, reason: str) -> None:
    with pytest.raises(UnusableValue, match=reason):
        parse(feature(**said), absent)
    assert np.isnan(parse(feature(missing="nan", **said), absent)).tolist() == [False, True]


def test_whole_number_in_a_double_is_taken_up_to_where_doubles_hold_each() -> None:
    largest = 2.0**53 - 1
    assert parse(feature(type="int64"), largest).tolist() == parse(feature(type="int64"), int(largest)).tolist()
    for number in (2.0**53, -(2.0**53)):
        with pytest.raises(UnusableValue, match="is no whole number"):
            parse(feature(type="int64"), number)


def test_text_that_ends_with_a_zero_byte_is_refused_for_it_would_come_back_without() -> None:
    with pytest.raises(UnusableValue):
        parse(TEXT, "ab\0")
    assert parse(TEXT, "a\0b").tolist() == [0x620061, 0, 0]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int64", "-9223372036854775808", BOTTOM),
        ("int64", "+9223372036854775807", TOP),
        ("int64", "5.0", 5),
        ("int64", "1e3", 1000),
        ("bool", "FALSE", False),
        ("bool", "1.0", True),
        ("float32", "-1.5", -1.5),
    ],
)
def test_number_as_text_is_the_number(kind: Any, text: str, value: float) -> None:
    assert parse_text(feature(type=kind), text).tolist() == parse(feature(type=kind), value).tolist()


@pytest.mark.parametrize(("kind", "text"), [("float32", "true"), ("int64", "false"), ("bool", "x"), ("bool", "yes")])
def test_words_are_booleans_for_a_boolean_alone_and_only_true_and_false(kind: Any, text: str) -> None:
    with pytest.raises(UnusableValue, match=f"'{text}' is no number"):
        parse_text(feature(type=kind), text)
