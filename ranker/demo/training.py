"""Model of the example shop: trained on what came first, judged on what came last, exported to ONNX.

Owns the split, the model and its figures; must not know where model or vectors are kept. Imports scikit-learn and
skl2onnx inside the functions: a second run of the demo needs neither.

The figures are what they are: 287 clicks in 60,000 impressions cannot tell a good ranking from a fair one, so the AUC
comes with its interval. The network's size and penalty are the best of some twenty tried on three splits by time within
the training window; their figures on the hold-out were seen too, and lay between 0.47 and 0.54: all of it is noise.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ranker.demo.features import Vectors, build_vectors, popularity
from ranker.demo.shop import Impressions, Ints, Shop
from ranker.errors import DemoPackageMissing, ModelUnusable
from ranker.process import signals, vendor_telemetry
from ranker.vectors.rows import Matrix

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

HOLD_OUT = 0.25
"""The share of all impressions, the latest, that only judge."""
SEED = 2020
FOLDS = 5
RESAMPLES = 1000
PARITY = 1e-5
"""Tolerance between ONNX Runtime's probabilities and scikit-learn's."""
INPUT = "features"


@dataclass(frozen=True, slots=True)
class Quality:
    """Area under the curve (AUC): how well clicks are told from non-clicks in the hold-out; 0.5 is chance.

    Attributes:
        auc: The model's.
        auc_low: 2.5 % point of its bootstrap distribution.
        auc_high: 97.5 % point.
        baseline_auc: What ranking by the products' popularity in the training window gives.
        baseline_low: 2.5 % point.
        baseline_high: 97.5 % point.
        train_impressions: Size of the training window.
        train_clicks: Clicks in it.
        holdout_impressions: Size of the hold-out.
        holdout_clicks: Clicks in it.
    """

    auc: float
    auc_low: float
    auc_high: float
    baseline_auc: float
    baseline_low: float
    baseline_high: float
    train_impressions: int
    train_clicks: int
    holdout_impressions: int
    holdout_clicks: int

    def to_json(self) -> dict[str, float | int]:
        """Return plain data, rounded to what the sample can show."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Trained:
    """A model and what it is worth.

    Attributes:
        onnx: The graph; one input `features` (n, F) float32, class probabilities out.
        quality: Its figures on the hold-out.
    """

    onnx: bytes
    quality: Quality


def split(shop: Shop) -> tuple[Impressions, Impressions]:
    """Return the training window and the hold-out: all impressions before one moment, and all since."""
    times = shop.impressions.times
    cut = times[int(len(times) * (1 - HOLD_OUT))]
    return shop.impressions.where(times < cut), shop.impressions.where(times >= cut)


def train(shop: Shop, vectors: Vectors) -> Trained:
    """Train on the training window, judge on the hold-out.

    Args:
        shop: The data.
        vectors: What `build_vectors` made of the training window: what will be served.

    Raises:
        DemoPackageMissing: scikit-learn or skl2onnx is not installed.
        ModelUnusable: ONNX Runtime does not reproduce scikit-learn's scores.
    """
    window, holdout = split(shop)
    model = _fit(_cross_fitted_rows(shop, window, vectors), window.clicks)
    rows = vectors.rows(holdout)
    onnx = _export(model, vectors.schema.width)
    scores = model.predict_proba(rows)[:, 1]
    _check_parity(onnx, rows, scores)
    low, high = bootstrap_interval(holdout.clicks, scores)
    baseline = popularity(window, len(shop.products))[holdout.products]
    baseline_low, baseline_high = bootstrap_interval(holdout.clicks, baseline)
    return Trained(
        onnx,
        Quality(
            auc=auc(holdout.clicks, scores),
            auc_low=low,
            auc_high=high,
            baseline_auc=auc(holdout.clicks, baseline),
            baseline_low=baseline_low,
            baseline_high=baseline_high,
            train_impressions=len(window),
            train_clicks=int(window.clicks.sum()),
            holdout_impressions=len(holdout),
            holdout_clicks=int(holdout.clicks.sum()),
        ),
    )


def auc(clicks: Ints, scores: npt.NDArray[np.floating[Any]]) -> float:
    """Return the chance that a clicked impression scores above one that was not; ties count half.

    Args:
        clicks: Shape (n,), 0 or 1, both present.
        scores: Shape (n,).
    """
    others = np.sort(scores[clicks == 0])
    clicked = scores[clicks == 1]
    below, not_above = np.searchsorted(others, clicked, "left"), np.searchsorted(others, clicked, "right")
    return float((below + not_above).mean() / 2 / len(others))


def bootstrap_interval(clicks: Ints, scores: npt.NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Return the 95 % percentile interval of the AUC.

    Only the clicks are drawn anew: they are so few that the thousands of others add nothing to the spread.
    """
    others = np.sort(scores[clicks == 0])
    clicked = scores[clicks == 1]
    ranks = (np.searchsorted(others, clicked, "left") + np.searchsorted(others, clicked, "right")) / 2 / len(others)
    drawn = np.random.default_rng(SEED).choice(ranks, (RESAMPLES, len(ranks))).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _cross_fitted_rows(shop: Shop, window: Impressions, vectors: Vectors) -> Matrix:
    """Return the training rows (n, F), each with a product popularity that its own click had no part in.

    Otherwise a click would raise its product's popularity in its own row, and the model would trust that column far
    more than it can on a day it has not seen.
    """
    rows = vectors.rows(window)
    column = vectors.schema.user.width + vectors.schema.product.names.index("product_log_popularity")
    folds = np.random.default_rng(SEED).integers(0, FOLDS, len(window))
    for fold in range(FOLDS):
        inside = folds == fold
        others = build_vectors(shop, window.where(~inside))
        rows[inside, column] = others.rows(window.where(inside))[:, column]
    return rows


def _fit(rows: Matrix, clicks: Ints) -> Pipeline:
    """Fit a small network: unlike a linear model it can prefer other products for other users."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn
    except ImportError as err:
        raise DemoPackageMissing("scikit-learn", str(err)) from None
    # The penalty holds back what two hundred clicks cannot support.
    network = MLPClassifier((8,), solver="lbfgs", alpha=10.0, max_iter=60, random_state=SEED)
    model = make_pipeline(StandardScaler(), network)
    # One thread: sums then run in one order, so that two runs differ by the rounding of unaligned memory at most.
    with warnings.catch_warnings(), threadpool_limits(1):
        # Stopped early on purpose: going on learns the clicks by heart.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(rows, clicks)


def _export(model: Pipeline, width: int) -> bytes:
    """Return the ONNX graph, byte for byte the same for the same model."""
    try:
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType
    except ImportError as err:
        raise DemoPackageMissing("skl2onnx", str(err)) from None
    graph = to_onnx(
        model,
        name="ranker-demo",
        initial_types=[(INPUT, FloatTensorType([None, width]))],
        options={id(model): {"zipmap": False}},
    )
    return bytes(graph.SerializeToString(deterministic=True))


def _check_parity(onnx: bytes, rows: Matrix, expected: npt.NDArray[np.float64]) -> None:
    vendor_telemetry.switch_off()
    with signals.held_back():
        from onnxruntime import InferenceSession

    session = InferenceSession(onnx, providers=["CPUExecutionProvider"])
    scores = session.run(["probabilities"], {INPUT: rows})[0][:, 1]
    difference = float(np.abs(scores - expected).max())
    if not difference <= PARITY:
        raise ModelUnusable("ranker-demo", f"ONNX Runtime's scores differ from scikit-learn's by {difference:g}.")
