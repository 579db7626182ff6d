"""Forest of the profile `trees`: LightGBM, trained on seeded rows, exported by onnxmltools.

Trained in one thread, so that the same packages give the same trees.
"""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np
import numpy.typing as npt
import onnxmltools
from onnxmltools.convert.common.data_types import FloatTensorType

from benchmarks.profiles.layout import LAYOUTS

SEED = 20282
TREES, LEAVES = 500, 63
ROWS, LIST = 8_000, 20
"""Rows to train with, and rows of a list."""


def build(booster_file: Path) -> bytes:
    """Train a ranker, write it as LightGBM keeps it, and return it as ONNX: `features` (n, 64) in."""
    layout, random = LAYOUTS["trees"], np.random.default_rng(SEED)
    columns = layout.user.width + layout.product.width
    rows = random.standard_normal((ROWS, columns), dtype=np.float32)
    ranker = lightgbm.LGBMRanker(
        n_estimators=TREES, num_leaves=LEAVES, min_child_samples=5, min_child_weight=0.0, learning_rate=0.05,
        random_state=SEED, n_jobs=1, deterministic=True, force_col_wise=True, verbose=-1,
    )  # fmt: skip
    ranker.fit(rows, draw_labels(rows, random), group=[LIST] * (ROWS // LIST))
    ranker.booster_.save_model(booster_file)
    graph = onnxmltools.convert_lightgbm(ranker, initial_types=[("features", FloatTensorType([None, columns]))])
    graph.graph.name = "ranker-trees"  # in place of a random one
    return bytes(graph.SerializeToString(deterministic=True))


def draw_labels(rows: npt.NDArray[np.float32], random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return what was clicked, 0 or 1: of single columns, and of pairs of a user's and a product's."""
    user, product = np.split(rows, [LAYOUTS["trees"].user.width], axis=1)
    liking = (user[:, :12] * product[:, :12]).sum(axis=1) + np.sin(2 * rows).sum(axis=1) * 0.5 + product[:, 0]
    return random.binomial(1, 1 / (1 + np.exp(-liking))).astype(np.int64)
