"""The rules of outputs by themselves, for what 1, 2 and 3 rows gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from ranker.errors import ModelRejected
from ranker.scoring.graph.output import (
    ModelOutput,
    find_output,
    score_candidates,
    single_outputs,
)
from ranker.scoring.graph.output_choice import Choice, read_choice

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


class Given(NamedTuple):
    """An output as ONNX Runtime describes it."""

    name: str
    type: str
    shape: tuple[int | str | None, ...] = ()


def gave(*rows: Sequence[float]) -> list[npt.NDArray[Any]]:
    """Return what an output gave for 1, 2 and 3 rows, each of them one of these in turn."""
    return [np.array([rows[i % len(rows)] for i in range(n)], np.float32) for n in (1, 2, 3)]


def shaped(*shapes: tuple[int, ...]) -> list[npt.NDArray[Any]]:
    return [np.full(shape, 0.5) for shape in shapes]


SURE, UNSURE = (0.0, 1.0), (0.4998, 0.5006)


def test_scores_are_a_view_of_what_the_output_gave() -> None:
    raw = np.arange(6.0).reshape(3, 2)
    column = ModelOutput("p", FLOAT64, "(n, 2)", 1, (), 2).take(raw)
    lying = ModelOutput("s", FLOAT64, "(1, n)").take(raw[:, 0].reshape(1, 3))
    assert (column.tolist(), lying.tolist()) == ([1, 3, 5], [0, 2, 4])
    assert np.shares_memory(column, raw)
    behind = ModelOutput("p", FLOAT64, "(1, n, 2)", 0, (), 2).take(raw.reshape(1, 3, 2))
    assert behind.tolist() == [0, 2, 4]


def test_output_is_said_with_its_shape_type_and_column() -> None:
    outputs = (
        ModelOutput("s", FLOAT32, "(n,)"),
        ModelOutput("p", FLOAT64, "(n, 3)", 2, (), 3),
        ModelOutput("p", FLOAT32, "(n, 2)", 1, ("no", "yes"), 2),
    )
    assert [*map(str, outputs)] == [
        "s (n,) float32",
        "p (n, 3) float64, column 2",
        "p (n, 2) float32, column 1 (class yes of no, yes)",
    ]


@pytest.mark.parametrize(
    ("asked", "in_formula", "said"),
    [
        (("p",), False, "`output: p`"),
        (("p", 1), False, '`output: "p[1]"`'),
        (("p", 1, "yes"), False, '`output: "p[yes]"`'),
        (("p",), True, "`p`"),
        (("p", 1, "yes"), True, "`p['yes']`"),
        (("p:0", 2), True, "`'p:0'[2]`"),
    ],
)
def test_line_says_an_output_or_a_column_as_the_schema_or_its_formula_takes_it(
    asked: tuple[Any, ...], in_formula: bool, said: str
) -> None:
    assert Choice("of the schema", in_formula=in_formula).line(*asked) == said


@pytest.mark.parametrize(
    ("output", "choice"),
    [
        (None, None),
        ("p", Choice("p")),
        ("unknown", Choice("unknown")),
        ("p[1]", Choice("p[1]")),  # an output's whole name
        ("p[yes]", Choice("p", "yes")),
        ("p[a[b]]", Choice("p", "a[b]")),
    ],
)
def test_what_stands_in_brackets_is_a_class_or_column_unless_an_output_is_called_so(
    output: str | None, choice: Choice | None
) -> None:
    assert read_choice(output, [Given("p", "tensor(float)"), Given("p[1]", "tensor(float)")]) == choice


def test_graph_that_gives_labels_alone_is_refused_with_what_it_gives() -> None:
    declared = [Given("label", "tensor(int64)"), Given("name", "tensor(string)")]
    with pytest.raises(ModelRejected, match=r"gives no score \(label: tensor\(int64\), name: tensor\(string\)\);"):
        score_candidates(declared, None)
    both = [*declared, Given("a", "tensor(float)"), Given("b", "tensor(double)")]
    assert score_candidates(both, None) == ("a", "b")
    assert score_candidates(both, Choice("b")) == ("b",)


def test_single_outputs_are_those_of_one_value_a_row_and_probabilities_of_two_classes() -> None:
    given = {
        "s": gave([1.0], [2.0]),
        "p": gave(SURE, UNSURE, (np.nan, 0.5)),
        "three": gave((0.0, 0.0, 1.0)),
        "logits": gave((-1.0, 2.0)),
        "sums": gave((0.5, 1.2)),
        "turned": shaped((2, 1), (2, 2), (2, 3)),
        "fixed": shaped((1, 2), (1, 2), (1, 2)),
        "constant": shaped((1,), (1,), (1,)),
        "none": shaped((), (), ()),
        "lying": shaped((1, 1), (1, 2), (1, 3)),
    }
    assert single_outputs(given) == [
        ModelOutput("s", FLOAT32, "(n, 1)"),
        ModelOutput("p", FLOAT32, "(n, 2)", 1, (), 2),
        ModelOutput("lying", FLOAT64, "(1, n)"),
    ]


def test_column_of_two_classes_is_the_second_where_it_is_plainly_the_wanted_one() -> None:
    of_three = {"p": ("a", "b", "c")}  # of something else
    for classes, named in (({"p": ("No", "YES")}, ("No", "YES")), ({}, ()), (of_three, ())):
        assert find_output({"p": gave(SURE)}, None, classes) == ModelOutput("p", FLOAT32, "(n, 2)", 1, named, 2)


def test_two_outputs_that_could_each_be_the_score_are_refused_with_a_line_for_each() -> None:
    with pytest.raises(ModelRejected) as refused:
        find_output({"a": gave([1.0]), "b:0": gave([2.0])}, None, {})
    assert "The outputs a, b:0 could each be the score." in str(refused.value)
    assert str(refused.value).endswith('which one is: `output: a` or `output: "b:0"`.')


def test_one_score_is_taken_where_the_class_of_high_ones_is_plainly_wanted_or_the_schema_names_it() -> None:
    found = ModelOutput("s", FLOAT32, "(n, 1)")
    for classes in ({"s": ("No", "YES")}, {"s": ()}, {}):
        assert find_output({"s": gave([1.0])}, None, classes) == found
    other = {"s": ("yes", "no")}
    assert find_output({"s": gave([1.0])}, Choice("s"), other) == found
    with pytest.raises(ModelRejected) as refused:
        find_output({"s": gave([1.0])}, None, other)
    assert str(refused.value).startswith("s is high for rows of class no and low for those of yes, and")
    assert str(refused.value).endswith('Say it in the schema: `output: s` for no, or `score: "0 - s"` for yes.')


@pytest.mark.parametrize(
    ("choice", "lines"),
    [
        (None, '`output: "p[buy]"` or `output: "p[view]"`'),
        (Choice("p"), '`output: "p[buy]"` or `output: "p[view]"`'),
        (Choice("p", in_formula=True), "`p['buy']` or `p['view']`"),
    ],
)
def test_where_classes_leave_a_choice_both_lines_are_said(choice: Choice | None, lines: str) -> None:
    with pytest.raises(ModelRejected) as refused:
        find_output({"p": gave(SURE)}, choice, {"p": ("buy", "view")})
    assert "The two columns of p are the classes buy and view, and" in str(refused.value)
    assert str(refused.value).endswith(f"Say it in the schema: {lines}.")


def test_columns_whose_labels_go_another_way_are_refused_until_the_schema_says_a_number() -> None:
    with pytest.raises(ModelRejected) as refused:
        find_output({"p": gave(SURE)}, None, {"p": None})
    assert "labels that the graph gives do not go together with the two columns of p, so" in str(refused.value)
    assert str(refused.value).endswith('classes: `output: "p[0]"` or `output: "p[1]"`.')
    chosen = find_output({"p": gave(SURE)}, Choice("p", "1"), {"p": None})
    assert chosen == ModelOutput("p", FLOAT32, "(n, 2)", 1, (), 2)
    with pytest.raises(ModelRejected, match="It has 3 columns: say"):
        find_output({"p": gave((1.0, 2.0, 3.0))}, None, {"p": None})


@pytest.mark.parametrize(
    ("column", "given", "classes", "found"),
    [
        ("2", gave((1.0, 2.0, 3.0)), (), ModelOutput("p", FLOAT32, "(n, 3)", 2, (), 3)),
        ("yes", gave(SURE), ("no", "yes"), ModelOutput("p", FLOAT32, "(n, 2)", 1, ("no", "yes"), 2)),
        ("", gave(SURE), ("", "yes"), ModelOutput("p", FLOAT32, "(n, 2)", 0, ("", "yes"), 2)),
        ("1", gave(SURE), ("1", "0"), ModelOutput("p", FLOAT32, "(n, 2)", 0, ("1", "0"), 2)),
        ("1", gave(SURE), ("a", "b", "c"), ModelOutput("p", FLOAT32, "(n, 2)", 1, (), 2)),
        ("0", gave([1.0]), (), ModelOutput("p", FLOAT32, "(n, 1)", 0, (), 1)),
    ],
)
def test_chosen_column_is_found_by_its_class_or_else_by_its_number(
    column: str, given: list[npt.NDArray[Any]], classes: tuple[str, ...], found: ModelOutput
) -> None:
    assert find_output({"p": given}, Choice("p", column), {"p": classes} if classes else {}) == found


@pytest.mark.parametrize(
    ("given", "classes", "said"),
    [
        (gave((1.0, 2.0, 3.0)), (), "it has the columns 0 to 2."),
        (gave((1.0, 2.0)), ("a", "b", "c"), "it has the columns 0 to 1."),
        (gave(SURE), ("a", "b"), "it has the classes a, b, and the columns 0 to 1."),
        (shaped((1, 2), (1, 2), (1, 2)), (), "p has no columns to choose from: (1, 2), (1, 2), (1, 2). Write `outp"),
        (shaped((1,), (2,), (3,)), (), "p has no columns to choose from: (1,), (2,), (3,). Write `output: p`."),
    ],
)
def test_column_that_there_is_not_is_refused_with_those_there_are(
    given: list[npt.NDArray[Any]], classes: tuple[str, ...], said: str
) -> None:
    for column in ("7", str(given[-1].shape[-1])):
        with pytest.raises(ModelRejected) as refused:
            find_output({"p": given}, Choice("p", column), {"p": classes} if classes else {})
        assert said in str(refused.value)


@pytest.mark.parametrize(
    ("given", "classes", "remedy"),
    [
        (
            gave((1, 2, 3)),
            ("a", "b", "c"),
            'has 3 classes, a, b, c: say in the schema which of them ranks, such as `output: "p[c]"`.',
        ),
        (
            gave(range(6)),
            tuple("abcdef"),
            'It has 6 classes, a, b, c, d, e: say in the schema which of them ranks, such as `output: "p[f]"`.',
        ),
        (
            gave(range(4)),
            ("a", "b"),
            'It has 4 columns: say in the schema which of them ranks, such as `output: "p[3]"`.',
        ),
        (gave((-1, 2)), (), 'so in the schema, such as `output: "p[1]"`; of two logits, export the probabilities'),
        (gave((-1, 2)), ("a", "b"), 'so in the schema, such as `output: "p[b]"`; of two logits, export'),
        (gave((-1, 2)), ("1", "0"), 'so in the schema, such as `output: "p[1]"`; of two logits, export'),
        (shaped((1, 4), (2, 5), (3, 6)), (), "Export a graph whose output keeps the rows as its first axis"),
        (shaped((4, 1), (5, 1), (6, 1)), (), "Export a graph whose output keeps the rows as its first axis"),
        (shaped((1,), (1,), (1,)), (), "Export a graph whose output keeps the rows as its first axis"),
    ],
)
def test_output_that_is_no_score_is_refused_with_what_would_make_it_one(
    given: list[npt.NDArray[Any]], classes: tuple[str, ...], remedy: str
) -> None:
    with pytest.raises(ModelRejected) as refused:
        find_output({"fixed": shaped((7,), (7,), (7,)), "p": given}, None, {"p": classes} if classes else {})
    shapes = ", ".join(str(array.shape) for array in given)
    assert f"1, 2 and 3 rows gave fixed (7,), (7,), (7,); p {shapes}. " in str(refused.value)
    assert remedy in str(refused.value)
