from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ranker.demo import training
from ranker.demo.features import Vectors, build_vectors
from ranker.demo.shop import Shop, read_shop
from ranker.errors import DemoPackageMissing
from ranker.scoring.model import OnnxModel


@pytest.fixture(scope="module")
def shop() -> Shop:
    return read_shop()


@pytest.fixture(scope="module")
def vectors(shop: Shop) -> Vectors:
    return build_vectors(shop, training.split(shop)[0])


@pytest.fixture(scope="module")
def trained(shop: Shop, vectors: Vectors) -> training.Trained:
    return training.train(shop, vectors)


def test_hold_out_is_the_last_quarter(shop: Shop) -> None:
    window, holdout = training.split(shop)
    assert len(window) + len(holdout) == 60_000
    assert len(holdout) == pytest.approx(15_000, abs=10)
    assert window.times.max() < holdout.times.min()


def test_same_data_give_the_same_model_but_for_rounding(
    shop: Shop, vectors: Vectors, trained: training.Trained
) -> None:
    again = training.train(shop, vectors)
    rows = np.hstack([np.tile(vectors.users[0], (80, 1)), vectors.products])
    first, second = (OnnxModel(t.onnx, vectors.schema).score(rows) for t in (trained, again))
    np.testing.assert_allclose(first, second, rtol=0.05, atol=1e-4)
    assert again.quality.auc == pytest.approx(trained.quality.auc, abs=0.005)


def test_quality_is_reported_with_its_interval_beside_the_baseline(trained: training.Trained) -> None:
    quality = trained.quality
    assert quality.auc_low < quality.auc < quality.auc_high
    assert quality.baseline_low < quality.baseline_auc < quality.baseline_high
    assert quality.train_clicks + quality.holdout_clicks == 287
    # Neither a leak (near 1) nor an inverted score.
    assert 0.4 < quality.auc < 0.7


def test_model_is_one_the_service_takes_and_ranks_users_differently(
    vectors: Vectors, trained: training.Trained
) -> None:
    model = OnnxModel(trained.onnx, vectors.schema)
    rankings = set()
    for user in vectors.users[:20]:
        scores = model.score(np.hstack([np.tile(user, (80, 1)), vectors.products]))
        assert ((scores > 0) & (scores < 1)).all()
        rankings.add(tuple(np.argsort(-scores)))
    assert len(rankings) == 20


def test_training_rows_do_not_contain_their_own_click(shop: Shop, vectors: Vectors) -> None:
    window, _ = training.split(shop)
    rows = training._cross_fitted_rows(shop, window, vectors)
    column = vectors.schema.user.width + vectors.schema.product.names.index("product_log_popularity")
    whole = vectors.rows(window)
    clicked = window.clicks == 1
    # Without its own click a product is less popular than with it.
    assert (rows[clicked, column] < whole[clicked, column]).mean() > 0.9
    others = np.arange(rows.shape[1]) != column
    assert (rows[:, others] == whole[:, others]).all()


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_auc_is_the_usual_one_ties_included(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    clicks = rng.integers(0, 2, 500)
    scores = np.round(rng.normal(clicks * 0.5, 1), decimals)
    assert training.auc(clicks, scores) == pytest.approx(roc_auc_score(clicks, scores))
    low, high = training.bootstrap_interval(clicks, scores)
    assert low < training.auc(clicks, scores) < high


@pytest.mark.parametrize(("module", "package"), [("sklearn.neural_network", "scikit-learn"), ("skl2onnx", "skl2onnx")])
def test_missing_package_is_named(
    shop: Shop, vectors: Vectors, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DemoPackageMissing, match=package):
        training.train(shop, vectors)
