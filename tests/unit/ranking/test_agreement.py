import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr  # type: ignore[import-untyped]  # as SciPy comes

from ranker.ranking.agreement import rank_correlation, top_k_overlap

FEW_VALUES = st.integers(-3, 3).map(np.float32)


@given(st.integers(2, 30).flatmap(lambda n: st.tuples(*(arrays(np.float32, n, elements=FEW_VALUES),) * 2)))
def test_correlation_with_ties_is_scipys(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    if len(set(a.tolist())) < 2 or len(set(b.tolist())) < 2:
        assert math.isnan(rank_correlation(a, b))
    else:
        assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-9)


def test_same_order_is_one_and_the_reverse_minus_one() -> None:
    scores = np.array([3, 1, 2, 9], np.float32)
    assert rank_correlation(scores, np.exp(scores)) == 1.0
    assert rank_correlation(scores, -scores) == -1.0


def test_products_with_nan_in_either_are_left_out() -> None:
    a = np.array([1, 2, np.nan, 3, 0], np.float32)
    b = np.array([1, 2, 9, np.nan, 0], np.float32)
    assert rank_correlation(a, b) == 1.0
    assert math.isnan(rank_correlation(a[2:4], b[2:4]))


def test_overlap_is_the_shared_part_of_the_best() -> None:
    a, b = np.arange(20, dtype=np.float32), np.roll(np.arange(20, dtype=np.float32), -5)
    assert top_k_overlap(a, a) == 1.0
    assert top_k_overlap(a, b) == 0.5
    assert top_k_overlap(a, -a) == 0.0
    assert top_k_overlap(a[:4], -a[:4]) == 1.0  # fewer than k
    assert top_k_overlap(a, b, k=1) == 0.0
    assert top_k_overlap(np.array([np.nan, 1], np.float32), np.array([0, 1], np.float32), k=1) == 1.0
