"""Ranking metrics, against scikit-learn's, and where the two mean different things, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from ranker import metrics
from ranker.errors import InvalidLabels


def frame(seed: int, *, levels: int = 3, requests: int = 8, distinct: bool = True) -> pd.DataFrame:
    """Requests of different lengths, their rows mixed; where asked for, no two scores alike."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 12, requests)
    n = int(sizes.sum())
    scores = random.permutation(n) / n if distinct else random.integers(0, 3, n) / 2
    made = pd.DataFrame(
        {
            "request_id": np.repeat([f"r{i}" for i in range(requests)], sizes),
            "score": scores,
            "label": random.integers(0, levels, n),
        }
    )
    return made.sample(frac=1, random_state=seed)


def each(made: pd.DataFrame) -> list[tuple[np.ndarray, np.ndarray]]:
    """Labels and scores of each request that has a label above 0."""
    found = [(part.label.to_numpy(), part.score.to_numpy()) for _, part in made.groupby("request_id")]
    return [(labels, scores) for labels, scores in found if labels.any()]


@given(st.integers(0, 10_000), st.sampled_from([None, 1, 3, 5]))
def test_ndcg_is_scikit_learns(seed: int, k: int | None) -> None:
    made = frame(seed)
    # Of a single product scikit-learn gives no NDCG; it stands where it best does.
    expected = [
        1.0 if len(labels) == 1 else sk.ndcg_score([labels], [scores], k=k, ignore_ties=True)
        for labels, scores in each(made)
    ]
    found = metrics.ndcg(made, k=k)
    assert found == pytest.approx(np.mean(expected)) if expected else math.isnan(found)


@given(st.integers(0, 10_000))
def test_exponential_gain_is_scikit_learns_of_those_gains(seed: int) -> None:
    made = frame(seed)
    assert metrics.ndcg(made, gain="exponential") == pytest.approx(
        metrics.ndcg(made.assign(label=2.0**made.label - 1)), nan_ok=True
    )


@given(st.integers(0, 10_000), st.booleans())
def test_auc_is_scikit_learns_ties_included(seed: int, distinct: bool) -> None:
    made = frame(seed, levels=2, distinct=distinct)
    if made.label.nunique() == 2:
        assert metrics.auc(made) == pytest.approx(sk.roc_auc_score(made.label, made.score))
    expected = [sk.roc_auc_score(labels, scores) for labels, scores in each(made) if not labels.all()]
    found = metrics.auc(made, group="request_id")
    assert found == pytest.approx(np.mean(expected)) if expected else math.isnan(found)


@given(st.integers(0, 10_000))
def test_mrr_of_one_click_is_scikit_learns_ranking_precision(seed: int) -> None:
    made = frame(seed, levels=1)
    made["label"] = (~made.request_id.duplicated()).astype(int)  # one in each request
    expected = [sk.label_ranking_average_precision_score([labels], [scores]) for labels, scores in each(made)]
    assert metrics.mrr(made) == pytest.approx(np.mean(expected))


def test_mrr_counts_the_first_click_and_nothing_behind_k() -> None:
    made = {"request_id": list("aaabbbcc"), "score": [3, 2, 1, 3, 2, 1, 2, 1], "label": [0, 1, 1, 0, 0, 1, 0, 0]}
    assert metrics.mrr(made) == pytest.approx((1 / 2 + 1 / 3) / 2)  # nothing to find in c
    assert metrics.mrr(made, k=2) == pytest.approx((1 / 2 + 0) / 2)


def test_ties_and_nan_stand_as_they_are_served() -> None:
    made = {"request_id": ["a"] * 4, "score": [np.nan, 1.0, 1.0, 2.0], "label": [1, 0, 0, 0]}
    assert metrics.mrr(made) == 1 / 4
    made["label"] = [0, 0, 1, 0]
    assert metrics.mrr(made) == 1 / 3


@pytest.mark.parametrize("made", [frame(3), pl.from_pandas(frame(3)), frame(3).to_dict("list")])
def test_frames_of_all_kinds_are_taken_and_columns_may_have_other_names(made: Any) -> None:
    renamed = frame(3).rename(columns={"score": "s", "label": "clicked", "request_id": "page"})
    for metric in (metrics.ndcg, metrics.mrr):
        assert metric(made) == metric(renamed, score="s", label="clicked", group="page")


def test_what_has_no_answer_is_nan_and_what_is_wrong_is_refused() -> None:
    nothing = {"request_id": [], "score": [], "label": []}
    for metric in (metrics.ndcg, metrics.mrr, metrics.auc):
        assert math.isnan(metric(nothing))
        with pytest.raises(InvalidLabels, match="negative"):
            metric({"request_id": [1], "score": [1.0], "label": [-1]})
        with pytest.raises(InvalidLabels, match="negative or no number"):
            metric({"request_id": [1], "score": [1.0], "label": [np.nan]})
    with pytest.raises(InvalidLabels, match="NaN"):
        metrics.auc({"score": [np.nan], "label": [1]})
    with pytest.raises(InvalidLabels, match="lengths"):
        metrics.ndcg({"request_id": [1, 2], "score": [1.0], "label": [1]})
