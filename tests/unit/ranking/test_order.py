import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ranker.ranking.order import LARGEST, MissingProduct, order, order_together, order_with_missing, presentable

scores_lists = hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(width=32, allow_nan=True))


def of_length(n: int) -> st.SearchStrategy[np.ndarray]:
    """Scores of n products, many of them equal."""
    return hnp.arrays(np.float32, n, elements=st.sampled_from([0.0, 1.0, 2.0, np.nan, np.inf, -np.inf]))


def test_best_first_ties_in_request_order_nan_last() -> None:
    scores = np.array([1, np.nan, 3, 1, -np.inf, np.inf, np.nan], dtype=np.float32)
    assert order(scores).tolist() == [5, 2, 0, 3, 4, 1, 6]


def test_ties_of_a_long_list_keep_request_order() -> None:
    scores = np.tile(np.array([2, 7, np.nan, 7, -np.inf], np.float32), 40)  # any sort is stable up to 16
    stable = sorted(range(200), key=lambda i: (math.isnan(scores[i]), -scores[i]))
    assert order(scores).tolist() == stable
    assert order(scores, 90).tolist() == stable[:90]


@given(scores_lists)
def test_ranking_permutes_its_input_and_descends(scores: np.ndarray) -> None:
    positions = order(scores)
    assert sorted(positions.tolist()) == list(range(len(scores)))
    ranked = scores[positions]
    numbers = ranked[~np.isnan(ranked)]
    assert np.isnan(ranked[len(numbers) :]).all()
    assert (numbers[:-1] >= numbers[1:]).all()


@given(scores_lists, st.integers(1, 60))
def test_top_k_is_the_head_of_the_ranking(scores: np.ndarray, k: int) -> None:
    assert order(scores, k).tolist() == order(scores).tolist()[:k]


@pytest.mark.parametrize("missing_product", ["default", "last", "drop"])
def test_top_k_is_the_head_of_the_ranking_where_products_are_missing(missing_product: MissingProduct) -> None:
    scores = np.array([1, 4, 2, 3, 5], np.float32)
    absent = np.array([False, True, False, False, True])
    whole = order_with_missing(scores, absent, missing_product).tolist()
    assert whole == {"default": [4, 1, 3, 2, 0], "last": [3, 2, 0, 1, 4], "drop": [3, 2, 0]}[missing_product]
    for k in (1, 2, 4, 9):
        assert order_with_missing(scores, absent, missing_product, k).tolist() == whole[:k]


@given(scores_lists, st.randoms())
def test_permuting_distinct_scores_permutes_the_ranking(scores: np.ndarray, random: Random) -> None:
    scores = np.unique(scores[~np.isnan(scores)])
    permutation = np.array(random.sample(range(len(scores)), len(scores)), dtype=int)
    assert scores[permutation][order(scores[permutation])].tolist() == scores[order(scores)].tolist()


@given(st.lists(scores_lists, max_size=5) | st.integers(1, 40).flatmap(lambda n: st.lists(of_length(n), max_size=5)))
def test_lists_ordered_together_are_ordered_as_alone(lists: list[np.ndarray]) -> None:
    assert [positions.tolist() for positions in order_together(lists)] == [order(scores).tolist() for scores in lists]


def test_infinite_scores_are_shown_as_the_largest_numbers_and_others_as_they_are() -> None:
    scores = np.array([np.inf, -np.inf, LARGEST, 1.5, np.nan], np.float32)
    shown = presentable(scores)
    np.testing.assert_array_equal(shown, np.array([LARGEST, -LARGEST, LARGEST, 1.5, np.nan], np.float32), strict=True)
