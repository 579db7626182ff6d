"""Edits that a request asks for, and the rows that tell what each feature adds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ranker.errors import InvalidRequest
from ranker.ranking.explain.ablation import (
    MAX_CELLS,
    MAX_EXPLAINED,
    Ablation,
    Edit,
    choose_explained,
    edit,
    read_edits,
)
from ranker.vectors.feature import LARGEST
from ranker.vectors.rows import Matrix
from ranker.vectors.schema import FeatureSchema

SCHEMA = FeatureSchema.from_mapping(
    {
        "user": {"features": ["age", {"name": "taste", "shape": [2], "default": 0.5}]},
        "product": {"features": [{"name": "price", "default": 5}, {"name": "stock", "default": 7}]},
    }
)
LONG = "x" * 50


def edits(user: dict[str, Any] | None, products: dict[str, dict[str, Any]] | None = None) -> list[tuple[Any, ...]]:
    """The edits of a request for a, b and c, with lists for arrays."""
    read = read_edits(SCHEMA, user, products, list("abc"))
    assert all(one.values.dtype == np.float32 for one in read)
    return [(one.row, one.columns, one.values.tolist()) for one in read]


def test_values_of_the_user_are_for_all_rows_and_those_of_a_product_for_its_own() -> None:
    assert edits(None) == edits({}, {}) == []
    assert edits({"age": 3, "taste": [1, 2]}) == [(None, slice(0, 1), [3]), (None, slice(1, 3), [1, 2])]
    products = {"c": {"stock": True}, "a": {"price": 1.5}}
    assert edits(None, products) == [(2, slice(4, 5), [1]), (0, slice(3, 4), [1.5])]


def test_null_stands_for_the_default() -> None:
    assert edits({"taste": None}, {"b": {"stock": None}}) == [(None, slice(1, 3), [0.5, 0.5]), (1, slice(4, 5), [7])]


@pytest.mark.parametrize("number", [LARGEST, -LARGEST, 0, False])
def test_any_number_of_float32_may_be_a_value(number: float) -> None:
    assert edits({"age": number}) == [(None, slice(0, 1), [number])]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e39, -1e39, 10**400, "3", [3]])
def test_what_is_no_number_of_float32_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        edits({"age": value})
    assert "overrides.user.age: Input should be a finite number, as a float32, or null" in str(refused.value)


@pytest.mark.parametrize(
    ("user", "products", "problem"),
    [
        (
            {"taste": [1]},
            None,
            r"overrides.user.taste: Input should be a value of float32, but \[1\] has not the shape",
        ),
        ({"price": 1}, None, "overrides.user: this model has no such feature as 'price'"),
        ({LONG: 1}, None, f"overrides.user: this model has no such feature as '{LONG[:40]}'"),
        (None, {"b": {"age": 1}}, "overrides.products.b: this model has no such feature as 'age'"),
        (None, {"d": {"price": 1}}, "overrides.products: 'd' is none of productIds"),
        (None, {LONG: {}}, f"overrides.products: '{LONG[:40]}' is none of productIds"),
        (None, {"b": {"stock": "few"}}, "overrides.products.b.stock: Input should be a finite number, as a float32"),
    ],
)
def test_problem_of_an_edit_is_said_with_its_place(user: Any, products: Any, problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        edits(user, products)


def test_all_problems_of_edits_are_named_at_once() -> None:
    with pytest.raises(InvalidRequest) as refused:
        edits({"no": 1, "age": "x", "taste": [1, 2]}, {"z": {}, "a": {"no": 1, "price": "y"}})
    said = str(refused.value)
    places = ("overrides.user:", "overrides.user.age:", "'z' is none", "products.a:", "overrides.products.a.price:")
    assert [place in said for place in places] == [True] * 5


def test_a_value_beyond_the_features_bounds_is_refused_for_a_table_may_have_no_such_row() -> None:
    features = [
        {"name": "n", "max": 9},
        {"name": "no", "type": "int64", "min": 0, "max": 99},
        {"name": "kin", "type": "product", "length": 2, "min": 0, "max": 9},
    ]
    schema = FeatureSchema.from_mapping({"product": {"features": features}})
    assert len(read_edits(schema, None, {"a": {"n": 9, "no": 99, "kin": [0, 9]}}, ["a"])) == 3
    for name, value, said in (("n", 9.5, "9.5"), ("no", 100, "100"), ("no", -1, "-1"), ("kin", [1, 10], "10")):
        with pytest.raises(InvalidRequest, match=rf"a\.{name}: Input should be within its bounds, but {said} is"):
            read_edits(schema, None, {"a": {name: value}}, ["a"])


def test_a_long_name_is_cut_wherever_it_is_said() -> None:
    schema = FeatureSchema.from_mapping({"product": {"features": [LONG]}})
    with pytest.raises(InvalidRequest) as refused:
        read_edits(schema, {"age": 1}, {LONG: {LONG: "few"}}, [LONG])
    said = str(refused.value)
    assert f"overrides.products.{LONG[:40]}.{LONG[:40]}: Input should be" in said
    assert "overrides.user: this model has no such feature as 'age'" in said  # users have none at all


def test_edits_change_their_columns_of_one_row_or_of_all() -> None:
    matrix = np.zeros((3, 4), np.float32)
    edit(matrix, [Edit(None, slice(0, 1), np.float32([2])), Edit(1, slice(2, 4), np.float32([3, 4]))])
    assert matrix.tolist() == [[2, 0, 0, 0], [2, 0, 3, 4], [2, 0, 0, 0]]


@pytest.mark.parametrize(
    ("width", "explained"),
    [(1, MAX_EXPLAINED), (256, 100), (257, 99), (MAX_CELLS // 2, 2), (MAX_CELLS, 1), (MAX_CELLS + 1, 1)],
)
def test_so_many_of_the_best_are_explained_as_their_features_allow_and_one_at_least(width: int, explained: int) -> None:
    ranked = np.arange(200)[::-1]
    assert choose_explained(ranked, width).tolist() == ranked[:explained].tolist()


DEFAULTS = np.array([0, 1, np.nan, 5], np.float32)
ROWS = np.array([[0, 1, np.nan, 5], [9, 1, np.nan, 5], [0, 2, np.nan, 6], [0, 1, 3, 5], [7, 1, 4, 5]], np.float32)


def ablation(rows: list[int]) -> Ablation:
    """Of features of one column, two and one, of which the rows named have some at the default."""
    return Ablation(ROWS, np.array(rows), DEFAULTS, [1, 2, 1])


def same(chunks: list[Matrix], expected: list[list[list[float]]]) -> bool:
    pairs = zip(chunks, expected, strict=True)
    return all(np.array_equal(chunk, np.array(rows, np.float32), equal_nan=True) for chunk, rows in pairs)


def test_a_row_is_scored_again_with_each_feature_that_is_not_at_its_default() -> None:
    made = ablation([4, 0, 2, 1])
    assert (len(made), made.complete) == (5, 4)
    nan = float("nan")
    expected = [[0, 1, 4, 5], [7, 1, nan, 5], [0, 1, nan, 6], [0, 2, nan, 5], [0, 1, nan, 5]]
    assert same([*made.chunks(2)], [expected[:2], expected[2:4], expected[4:]])
    assert same([*made.chunks(5)], [expected])
    assert [*ablation([0]).chunks(2)] == []


def test_what_a_feature_adds_stands_in_its_first_column() -> None:
    made = ablation([4, 0, 2, 1])
    scores = np.array([1, 2, 30, 4, 500], np.float32)
    ablated = np.array([100, 200, 10, 20, 1], np.float32)
    told = [[400, 300, 0, 0], [0, 0, 0, 0], [0, 20, 0, 10], [1, 0, 0, 0]]
    for scored, known in ((5, 4), (4, 3), (3, 2), (2, 2), (1, 0), (0, 0)):
        contributions = made.contributions(scores, ablated[:scored])
        assert contributions.dtype == np.float32
        assert contributions.tolist() == told[:known]
        assert contributions.shape == (known, 4)


def test_between_infinite_scores_there_is_no_difference() -> None:
    told = ablation([1]).contributions(np.full(5, np.inf, np.float32), np.array([np.inf], np.float32))
    assert np.isnan(told[0, 0])
