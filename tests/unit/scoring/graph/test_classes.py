"""Classes of columns: which names count, those that the graph says or those that its labels show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ranker.scoring.graph.classes import order_classes, settle_classes, wanted_column

LOW, HIGH, TIE = (0.8, 0.2), (0.3, 0.7), (0.5, 0.5)
CLICKS = ("click", "no_click")


def settle(named: tuple[str, ...], rows: list[tuple[float, ...]], labels: list[Any]) -> tuple[str, ...] | None:
    return settle_classes(named, np.array(rows), np.array(labels))


@pytest.mark.parametrize("labels", [["click", "no_click"], ["click", "click"], ["no_click", "click"]])
def test_names_count_where_labels_are_among_them_and_do_not_show_others(labels: list[str]) -> None:
    mixed = [LOW, HIGH] if labels[0] == "click" else [HIGH, LOW]
    assert settle(CLICKS, mixed, labels) == CLICKS
    assert settle(("0", "1"), [LOW, HIGH], [False, True]) == ("0", "1")
    assert settle(CLICKS, [LOW, LOW, HIGH], ["click", "no_click", "no_click"]) == CLICKS  # by a threshold of its own
    assert settle(CLICKS, [TIE, (np.nan, 0.4), LOW], ["no_click", "no_click", "click"]) == CLICKS


def test_labels_count_where_they_show_other_classes_than_are_named() -> None:
    for codes in (("0", "1"), ("no_click", "click"), ()):
        assert settle(codes, [LOW, HIGH, TIE], ["click", "no_click", "no_click"]) == CLICKS
    assert settle(("0", "1"), [LOW, HIGH], [1, 2]) == ("1", "2")
    assert settle((), [LOW, HIGH], [False, True]) == ("False", "True")


def test_a_column_that_is_nowhere_the_largest_has_its_number_for_a_name() -> None:
    assert settle((), [(0.1, 0.7, 0.2), (0.6, 0.2, 0.2)], ["b", "a"]) == ("a", "b", "2")
    assert settle(("0", "1"), [LOW], ["click"]) == ("click", "1")
    assert settle((), [LOW], ["1"]) is None  # which would be the name of both


def test_columns_are_nobody_s_where_labels_go_another_way_than_they_do() -> None:
    assert settle((), [LOW, LOW], ["click", "no_click"]) is None
    assert settle(("0", "1"), [LOW, LOW], ["click", "no_click"]) is None
    assert settle(("0", "1"), [TIE], ["click"]) is None
    assert settle((), [LOW, HIGH], ["click", "click"]) is None
    assert settle(CLICKS, [LOW, LOW, HIGH], ["no_click", "no_click", "no_click"]) is None
    assert settle(("0", "1"), [LOW], [1]) is None


def test_one_label_of_the_other_name_does_not_tell_whose_the_other_column_is() -> None:
    assert settle(CLICKS, [LOW], ["no_click"]) is None
    assert settle(CLICKS, [LOW, TIE], ["no_click", "click"]) is None
    assert settle(CLICKS, [TIE], ["no_click"]) == CLICKS  # and none does not speak against the names


def test_labels_of_plain_classes_need_not_go_together_with_the_columns() -> None:
    assert settle((), [LOW, LOW], [0, 1]) == ()
    assert settle((), [HIGH, HIGH], ["No", "YES"]) == ()


def test_labels_that_are_none_of_the_rows_or_columns_tell_nothing() -> None:
    assert settle(CLICKS, [LOW, HIGH, LOW], [5, 6, 7]) == CLICKS  # ids
    assert settle(CLICKS, [LOW, HIGH, LOW], [0, 1]) == CLICKS
    assert settle(CLICKS, [(0.1,), (0.2,)], [0, 1]) == CLICKS
    assert settle((), [], []) == ()


def test_names_of_another_number_of_columns_are_those_of_another_output() -> None:
    three = [(0.1, 0.7, 0.2), (0.6, 0.2, 0.2), (0.2, 0.2, 0.6)]
    assert settle(CLICKS, three, ["click", "no_click", "no_click"]) is None
    assert settle(CLICKS, three, ["b", "a", "c"]) == ("a", "b", "c")


def test_axes_of_length_one_change_nothing() -> None:
    columns, labels = np.array([[LOW, HIGH]]), np.array([["click"], ["no_click"]])
    assert settle_classes((), columns, labels) == CLICKS


@pytest.mark.parametrize(
    ("scores", "labels", "classes"),
    [
        ([-1.0, 2.0, 0.5], ["click", "no", "no"], ("click", "no")),
        ([-1.0, 2.0, 2.0], [1, 0, 0], ("1", "0")),
        ([0.5, 0.7, 0.5], [False, True, True], ("False", "True")),
        ([0.1, 0.5, 0.5], [0, 0, 1], ("0", "1")),
        ([-1.0, 2.0, 0.5], [1, 0, 1], ("1", "0")),
        ([-1.0, 2.0, 0.5], [0, 1, 2], ()),
        ([-1.0, 2.0, 0.5], [0, 0, 0], ()),
        ([-1.0, 2.0, 0.5, 0.2], [0, 1, 0, 1], ()),  # they go another way
        ([0.5, 0.5], [0, 1], ()),
        ([0.5, np.nan], [0, 1], ()),
        ([0.5, 0.7], [0, 1, 1], ()),
    ],
)
def test_one_score_a_row_is_high_for_one_of_two_classes(scores: Any, labels: Any, classes: tuple[str, ...]) -> None:
    for shape in ((-1,), (-1, 1), (1, -1)):
        assert order_classes(np.array(scores).reshape(shape), np.array(labels).reshape(shape)) == classes


def test_the_column_that_ranks_is_that_of_the_plain_class_or_the_last() -> None:
    assert [wanted_column(classes) for classes in (("1", "0"), ("YES", "No"), CLICKS, ("0", "1", "2"))] == [0, 0, 1, 2]
