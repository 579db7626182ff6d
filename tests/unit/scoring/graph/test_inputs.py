"""What a graph's inputs take of a matrix, and how they are said."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

from ranker.errors import ModelRejected
from ranker.scoring.graph.inputs import ModelInput, asks_for_nodes, listed, match_inputs, plain_name, quoted
from ranker.vectors.schema import FeatureSchema

DATA: dict[str, Any] = {"user": {"features": ["age", "spend"]}, "product": {"features": ["price"]}}
SCHEMA = FeatureSchema.from_mapping(DATA)


class Given(NamedTuple):
    """An input as ONNX Runtime describes it."""

    name: str
    type: str
    shape: tuple[int | str | None, ...]


def declared(name: str, width: int | str | None, kind: str = "tensor(float)") -> Given:
    return Given(name, kind, ("n", width))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *((plain, plain) for plain in ("age", "User.Age-2", "_x", "yesterday", "nullable", "N1")),
        *((word, f'"{word}"') for word in ("true", "FALSE", "yes", "No", "on", "OFF", "null", "Null", "y", "N")),
        *((other, f'"{other}"') for other in ("1st", "a b", "", "x:0", "-x")),
    ],
)
def test_name_in_a_line_for_the_schema_is_read_back_as_that_text(name: str, said: str) -> None:
    assert quoted(name) == said
    assert yaml.safe_load(f"inputs: {{{quoted(name)}: user}}") == {"inputs": {name: "user"}}


@pytest.mark.parametrize(("count", "said"), [(1, "a"), (5, "a, b, c, d, e"), (6, "a, b, c, d, e, …")])
def test_five_names_are_listed_at_most(count: int, said: str) -> None:
    assert listed(list("abcdefg")[:count]) == said


def test_columns_of_the_type_that_an_input_takes_are_not_copied() -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(3, 4)
    taken = ModelInput("x", np.dtype(np.float32), slice(1, 3)).take(matrix)
    assert taken.tolist() == [[1, 2], [5, 6], [9, 10]]
    assert np.shares_memory(taken, matrix)
    assert ModelInput("x", np.dtype(np.float64), slice(1, 3)).take(matrix).dtype == np.float64


def test_input_is_said_with_its_width_type_and_group() -> None:
    columns, kind = slice(1, 3), np.dtype(np.float32)
    assert str(ModelInput("x", kind, columns)) == "x (n, 2) float32"
    assert str(ModelInput("x", kind, columns, "user")) == "x (n, 2) float32 = user"


def test_inputs_of_groups_say_whose_columns_they_take() -> None:
    inputs = match_inputs([declared("product_features", 1), declared("user_features", "k", "tensor(double)")], SCHEMA)
    assert inputs == (
        ModelInput("user_features", np.dtype(np.float64), slice(0, 2), "user"),
        ModelInput("product_features", np.dtype(np.float32), slice(2, 3), "product"),
    )
    for rows in (declared("rows", None), Given("rows", "tensor(float)", ())):
        assert match_inputs([rows], SCHEMA) == (ModelInput("rows", np.dtype(np.float32), slice(0, 3)),)


def test_graph_of_another_number_of_inputs_is_refused_with_their_names() -> None:
    with pytest.raises(ModelRejected, match=r"The graph has 3 inputs \(a, b, c\), and rows are one \(n, 3\), or"):
        match_inputs([declared(name, 1) for name in "abc"], SCHEMA)


def test_input_of_another_width_is_refused_with_the_width_that_it_needs() -> None:
    with pytest.raises(ModelRejected, match="takes 7 columns; the schema names 3 features\\. List"):
        match_inputs([declared("rows", 7)], SCHEMA)
    by_schema = FeatureSchema.from_mapping(DATA | {"inputs": {"a": "product", "b": "user"}})
    with pytest.raises(ModelRejected, match="Input b takes 1 columns; the schema names 2 features for user\\. List"):
        match_inputs([declared("a", 1), declared("b", 1)], by_schema)


@pytest.mark.parametrize(
    ("shape", "said"), [((None, None, 3), r"\(n, \?, 3\)"), ((4, "k"), r"\(4, \?\)"), (("batch",), r"\(n\)")]
)
def test_shape_that_no_row_has_is_said_with_what_is_known_of_it(shape: tuple[int | str | None, ...], said: str) -> None:
    with pytest.raises(ModelRejected, match=rf"Input rows takes tensor\(float\) {said}, and rows are"):
        match_inputs([Given("rows", "tensor(float)", shape)], SCHEMA)


def test_inputs_that_cannot_be_told_apart_are_named_in_the_line_that_tells_them() -> None:
    schema = FeatureSchema.from_mapping(DATA | {"product": {"features": ["price", "stock"]}})
    with pytest.raises(ModelRejected, match=r"The inputs in_1, yes cannot be told.*`inputs: \{in_1: user, \"yes\": pr"):
        match_inputs([declared("in_1", 2), declared("yes", 2)], schema)


ONE_EACH = {"user": {"features": ["spend"]}, "product": {"features": ["price"]}}


@pytest.mark.parametrize(
    "names", [("price", "spend"), ("product", "user"), ("price", "user"), ("product", "user_data")]
)
def test_name_of_a_group_or_of_its_only_feature_says_the_group(names: tuple[str, str]) -> None:
    inputs = match_inputs([declared(name, 1) for name in names], FeatureSchema.from_mapping(ONE_EACH))
    assert [(one.name, one.group) for one in inputs] == [(names[1], "user"), (names[0], "product")]


def test_name_that_says_one_of_several_groups_as_well_as_another_says_none() -> None:
    crossed = {"user": {"features": ["product"]}, "product": {"features": ["price"]}}
    for other in ("user", "in_1"):
        with pytest.raises(ModelRejected, match=r"The inputs product, .* cannot be told"):
            match_inputs([declared("product", 1), declared(other, 1)], FeatureSchema.from_mapping(crossed))
    by_width = FeatureSchema.from_mapping(crossed | {"product": {"features": ["price", "stock"]}})
    inputs = match_inputs([declared("product", 2), declared("in_1", 1)], by_width)
    assert [(one.name, one.group) for one in inputs] == [("in_1", "user"), ("product", "product")]


def test_name_of_one_feature_of_several_says_no_group_however_it_is_spelled() -> None:
    features = {"user": {"features": ["user_vector", "spend"]}, "product": {"features": ["price", "stock"]}}
    for name in ("user_vector", "User-Vector:0"):
        with pytest.raises(ModelRejected, match=f"The inputs {name}, product cannot be told"):
            match_inputs([declared(name, 2), declared("product", 2)], FeatureSchema.from_mapping(features))
    assert [*map(plain_name, ("User-Age:0", "user  age", "a:01"))] == ["user_age", "user_age", "a_01"]


TEXT = {"user": {"features": ["age", {"name": "sign", "type": "text", "length": 1}]}}
WIDE = {"user": {"features": ["age", {"name": "code", "type": "int64"}]}}


@pytest.mark.parametrize(
    ("said", "needed"),
    [
        ({}, False),
        ({"inputs": {"a": "user", "b": "product"}}, False),
        ({"inputs": {"a": "user.age", "b": ["user.spend", "product"]}}, True),
        ({"rows": "together"}, True),
        ({"score": "click"}, True),
        ({"columns": ["age"]}, True),
        (TEXT, True),
        (WIDE, True),
    ],
)
def test_graph_needs_nodes_for_whatever_the_schema_says_beyond_groups_of_numbers(
    said: dict[str, Any], needed: bool
) -> None:
    assert asks_for_nodes(FeatureSchema.from_mapping(DATA | said)) is needed
