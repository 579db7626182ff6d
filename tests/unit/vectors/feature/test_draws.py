"""Drawn values cover what a feature is likely to hold: every category, every length, numbers from the default up."""

from typing import Any

import numpy as np
import pytest

from ranker.vectors.feature import Feature
from ranker.vectors.feature.columns import to_elements
from ranker.vectors.feature.draws import LARGEST_ID, draw

N = 5000


def drawn(**what: Any) -> Any:
    one = Feature(name="f", **what)
    return to_elements(one, draw(one, N, np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("said", "least"), [({}, 0), ({"default": 1}, 1), ({"default": 1000}, 1000), ({"default": -5}, 0)]
)
def test_whole_numbers_lie_from_the_default_up_or_from_zero(said: dict[str, Any], least: int) -> None:
    items = drawn(type="int64", **said).items
    assert (items.min(), items.max()) == (least, least + LARGEST_ID - 1)


@pytest.mark.parametrize(
    ("said", "values"),
    [({"type": "bool"}, {0, 1}), ({"type": "category", "vocabulary": ["x", "y", "z"]}, {0, 1, 2})],
)
def test_every_boolean_and_category_is_drawn(said: dict[str, Any], values: set[int]) -> None:
    assert set(drawn(**said).items.ravel().tolist()) == values


@pytest.mark.parametrize("said", [{"type": "product"}, {"shape": [2]}])
def test_histories_of_every_length_are_drawn(said: dict[str, Any]) -> None:
    assert set(drawn(length=3, **said).counts.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(("default", "spread"), [(0, 1), (0.5, 1), (-50, 50)])
def test_numbers_are_normal_around_the_default_as_far_as_it_is_large(default: float, spread: float) -> None:
    items = drawn(default=default).items
    assert items.mean() == pytest.approx(default, abs=0.1 * spread)
    assert items.std() == pytest.approx(spread, rel=0.1)
