"""Ranking metrics: NDCG, MRR and AUC of a frame with a row per product. Pure numpy; checked against scikit-learn.

A frame is anything that gives a column for its name: of pandas, polars or pyarrow, or a dict of arrays. Products of one
request stand in the order of their scores as served: ties keep the frame's order, and a score that is NaN ranks last.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ranker.errors import InvalidLabels

Floats = npt.NDArray[np.float64]
Gain = Literal["linear", "exponential"]


def ndcg(
    frame: Any,
    *,
    score: str = "score",
    label: str = "label",
    group: str = "request_id",
    k: int | None = None,
    gain: Gain = "linear",
) -> float:
    """Return the mean normalised discounted cumulative gain, from 0 to 1.

    The gain of a label at rank r, from 1, is discounted by log2(r + 1), and the sum is divided by that of the best
    order: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (ACM TOIS 20, 2002), with the
    discount that is usual since Burges et al., "Learning to rank using gradient descent" (ICML 2005), whose gain is
    the exponential one.

    Args:
        frame: A row per product.
        score: The column of scores.
        label: The column of labels, 0 or more; what is not clicked has 0.
        group: The column that says which request a row belongs to.
        k: How many of the first products count; all by default.
        gain: `linear` is the label, as in scikit-learn; `exponential` is 2^label - 1, as in LightGBM and XGBoost.

    Returns:
        The mean over requests with a label above 0, for others have no best order; NaN when there are none.

    Raises:
        InvalidLabels: a label is negative or no number, or columns have different lengths.
    """
    scores, labels, groups = _columns(frame, score, label, group)
    gains = labels if gain == "linear" else np.exp2(labels) - 1
    dcg, best = _dcg(scores, gains, groups, k), _dcg(gains, gains, groups, k)
    return _mean(dcg[best > 0] / best[best > 0])


def mrr(
    frame: Any, *, score: str = "score", label: str = "label", group: str = "request_id", k: int | None = None
) -> float:
    """Return the mean reciprocal rank, from 0 to 1: of 1 / the rank of each request's first label above 0.

    Voorhees, "The TREC-8 question answering track report" (1999).

    Args:
        frame: A row per product.
        score: The column of scores.
        label: The column of labels, 0 or more.
        group: The column that says which request a row belongs to.
        k: How many of the first products count; a request whose first label above 0 is behind them has 0.

    Returns:
        The mean over requests with a label above 0; NaN when there are none.

    Raises:
        InvalidLabels: a label is negative or no number, or columns have different lengths.
    """
    scores, labels, groups = _columns(frame, score, label, group)
    order, ranks = _ranked(scores, groups)
    relevant = labels[order] > 0
    first = np.full(groups.max(initial=-1) + 1, np.inf)
    np.minimum.at(first, groups[order][relevant], ranks[relevant])
    reciprocal = 1 / first[np.isfinite(first)]
    return _mean(reciprocal if k is None else np.where(reciprocal * k >= 1, reciprocal, 0.0))


def auc(frame: Any, *, score: str = "score", label: str = "label", group: str | None = None) -> float:
    """Return the area under the ROC curve: how often a label above 0 has the higher score; a tie counts half.

    By ranks: Hanley and McNeil, "The meaning and use of the area under a receiver operating characteristic (ROC) curve"
    (Radiology 143, 1982).

    Args:
        frame: A row per product.
        score: The column of scores; none is NaN.
        label: The column of labels, 0 or more.
        group: None for all rows as one; or the column that says which request a row belongs to, for the mean over
            requests that have labels of both kinds.

    Returns:
        0.5 for scores that tell nothing; NaN where all labels are of one kind.

    Raises:
        InvalidLabels: a label is negative or no number, a score is NaN, or columns have different lengths.
    """
    scores, labels, groups = _columns(frame, score, label, group)
    if np.isnan(scores).any():
        raise InvalidLabels(f"{score} has NaN, which is above and below no other")
    order = np.lexsort((scores, groups))
    sorted_groups, sorted_scores = groups[order], scores[order]
    starts = np.flatnonzero(np.r_[True, (np.diff(sorted_groups) != 0) | (np.diff(sorted_scores) != 0)][: len(order)])
    sizes = np.diff(np.r_[starts, len(order)])
    average = np.repeat(starts + (sizes + 1) / 2, sizes)  # of the places that ties share, from 1 over all rows
    positive = labels[order] > 0
    count = groups.max(initial=-1) + 1
    rows = np.bincount(sorted_groups, minlength=count)
    before = np.cumsum(rows) - rows  # rows of earlier groups
    positives = np.bincount(sorted_groups, positive, count)
    rank_sums = np.bincount(sorted_groups, np.where(positive, average - before[sorted_groups], 0), count)
    pairs = positives * (rows - positives)
    both = pairs > 0
    return _mean((rank_sums - positives * (positives + 1) / 2)[both] / pairs[both])


def _columns(frame: Any, score: str, label: str, group: str | None) -> tuple[Floats, Floats, npt.NDArray[np.intp]]:
    """Return scores and labels, shape (n,), and the number of each row's group, from 0."""
    scores = np.asarray(frame[score], dtype=np.float64)
    labels = np.asarray(frame[label], dtype=np.float64)
    if not (labels >= 0).all():
        raise InvalidLabels(f"{label} has a value that is negative or no number")
    if group is None:
        groups = np.zeros(len(scores), dtype=np.intp)
    else:
        _, groups = np.unique(np.asarray(frame[group]), return_inverse=True)
    if not len(scores) == len(labels) == len(groups):
        raise InvalidLabels(f"{score}, {label} and {group} have different lengths")
    return scores, labels, groups


def _ranked(scores: Floats, groups: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the order of rows by group and then as served, and the rank of each in it, from 1."""
    order = np.lexsort((-scores, groups))  # stable, and NaN last, as `ranking.order` has it
    sizes = np.bincount(groups)
    starts = np.cumsum(sizes) - sizes
    return order, np.arange(len(order)) - starts[groups[order]] + 1


def _dcg(scores: Floats, gains: Floats, groups: npt.NDArray[np.intp], k: int | None) -> Floats:
    """Return the discounted cumulative gain of each group."""
    order, ranks = _ranked(scores, groups)
    discounted = gains[order] / np.log2(ranks + 1)
    if k is not None:
        discounted[ranks > k] = 0
    summed: Floats = np.bincount(groups[order], discounted).astype(np.float64)  # whole where there are no rows
    return summed


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")
