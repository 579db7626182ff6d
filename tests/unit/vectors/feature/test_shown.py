"""Columns are shown as people wrote the value, and what no value has as what lies there."""

from typing import Any

import numpy as np
import pytest

from ranker.vectors.feature import Feature
from ranker.vectors.feature.columns import Elements, to_columns
from ranker.vectors.feature.shown import show
from ranker.vectors.feature.values import parse

TEXT = Feature(name="f", type="text", length=4)
BRAND = Feature(name="f", type="category", vocabulary=("nike", "puma"))


@pytest.mark.parametrize("value", [True, False])
def test_boolean_is_shown_as_one(value: bool) -> None:
    one = Feature(name="f", type="bool")
    assert show(one, parse(one, value)) is value


@pytest.mark.parametrize(("code", "shown"), [(0, "nike"), (1, "puma"), (2, 2), (-1, -1)])
def test_code_that_the_vocabulary_lacks_is_shown_as_a_number(code: int, shown: Any) -> None:
    assert show(BRAND, np.array([code], np.float32)) == shown


@pytest.mark.parametrize("text", ["boXX", "XXbo", "a\0b", ""])
def test_text_is_shown_without_its_filling_and_nothing_else_is_taken_away(text: str) -> None:
    assert show(TEXT, parse(TEXT, text)) == text


def test_bytes_that_are_no_unicode_are_shown_with_a_replacement() -> None:
    stored = np.array([[0xFF, ord("a"), 0, 0]], np.uint8)
    assert show(TEXT, to_columns(TEXT, Elements(stored))[0]) == "\ufffda"
