"""Rank agreement: how alike two models order the same products. Pure."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ranker.ranking.order import order
from ranker.vectors.rows import Scores

TOP_K = 10
"""Number of the best products that are compared where a request does not say."""


def rank_correlation(a: Scores, b: Scores) -> float:
    """Return Spearman's rho of two models' scores for the same n products.

    It is Pearson's correlation of the ranks (C. Spearman, "The Proof and Measurement of Association between Two
    Things", 1904), where equal scores share the mean of their ranks (M. G. Kendall, "Rank Correlation Methods", 1948).

    Args:
        a: Shape (n,). A product whose score is NaN in either is left out.
        b: Shape (n,).

    Returns:
        Between -1 and 1; NaN where there is no order to compare: fewer than two products, or all scores of one model
        are equal.
    """
    known = ~(np.isnan(a) | np.isnan(b))
    ranks_a, ranks_b = _mean_ranks(a[known]), _mean_ranks(b[known])
    if len(ranks_a) < 2:
        return math.nan
    deviations_a, deviations_b = ranks_a - ranks_a.mean(), ranks_b - ranks_b.mean()
    scale = math.sqrt(float(deviations_a @ deviations_a) * float(deviations_b @ deviations_b))
    return max(-1.0, min(1.0, float(deviations_a @ deviations_b) / scale)) if scale else math.nan


def top_k_overlap(a: Scores, b: Scores, k: int = TOP_K) -> float:
    """Return the share, 0 to 1, of one model's best min(k, n) products that are among the other's, too.

    Ties keep the order of the products and NaN ranks last, as in an answer.

    Args:
        a: Shape (n,), n at least 1.
        b: Shape (n,).
        k: At least 1.
    """
    best = order(a, k)
    return len(np.intersect1d(best, order(b, k), assume_unique=True)) / len(best)


def _mean_ranks(scores: Scores) -> npt.NDArray[np.float64]:
    _, which, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks: npt.NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return ranks
