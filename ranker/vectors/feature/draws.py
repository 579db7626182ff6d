"""Made-up values: what a feature could hold, drawn at random, for probes and trial requests. Pure.

Owns what is likely: a real value of the feature's type, so that a graph's look-ups find it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.vectors.feature.bounds import limits_of
from ranker.vectors.feature.columns import Elements, to_columns
from ranker.vectors.feature.description import Feature
from ranker.vectors.feature.values import default_columns
from ranker.vectors.rows import Matrix

LARGEST_ID = 100
"""Whole numbers lie below it, as nothing but their default is known of them: few tables are smaller."""


def draw(feature: Feature, n: int, random: np.random.Generator) -> Matrix:
    """Return the columns of n values, shape (n, feature.width), float32.

    Numbers are normal around the default, as far as it is large; booleans and categories are any there are; whole
    numbers lie from the default up, or from 0; all are within their bounds. Sequences have any length, texts are empty.
    """
    size = (n, feature.size)
    counts = random.integers(0, (feature.length or 0) + 1, n) if feature.is_sequence else None
    items: npt.NDArray[Any]
    if feature.type == "text":
        items = np.zeros(size, dtype=np.uint8)
    elif feature.type == "bool":
        items = random.integers(0, 2, size)
    elif feature.type == "category":
        items = random.integers(0, len(feature.vocabulary or ()), size)
    elif feature.kind.whole:
        first = feature.default if isinstance(feature.default, int) and feature.default > 0 else 0
        items = first + random.integers(0, LARGEST_ID, size)
    else:
        middle = np.nan_to_num(default_columns(feature)[feature.is_sequence :].astype(np.float64))
        items = random.normal(middle, np.maximum(np.abs(middle), 1.0), size)
    if (limits := limits_of(feature)) is not None:
        items = np.clip(items, *limits)
    return to_columns(feature, Elements(items, counts))
