"""Shown values: columns of a feature as people and JSON read them. Pure; the way back is in `values`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.vectors.feature.columns import to_elements
from ranker.vectors.feature.description import Feature


def show(feature: Feature, columns: npt.NDArray[np.float32]) -> Any:
    """Return the value whose columns, shape (feature.width,), are given, as `parse` takes it; None for NaN."""
    elements = to_elements(feature, columns[np.newaxis])
    if feature.type == "text":
        return elements.items.tobytes().rstrip(b"\0").decode(errors="replace")
    shown = [_shown(feature, element) for element in elements.items[0].tolist()]
    if elements.counts is not None:
        shape: tuple[int, ...] = (feature.length or 1, *feature.shape)
        return _nested(shown, shape)[: int(elements.counts[0])]
    return _nested(shown, feature.shape) if feature.shape else shown[0]


def _shown(feature: Feature, element: float | int) -> Any:
    if math.isnan(element):
        return None
    if feature.type == "bool":
        return bool(element)
    if feature.type == "category":
        code, vocabulary = int(element), feature.vocabulary or ()
        return vocabulary[code] if 0 <= code < len(vocabulary) else code
    return element


def _nested(flat: list[Any], shape: tuple[int, ...]) -> Any:
    for size in reversed(shape[1:]):
        flat = [flat[i : i + size] for i in range(0, len(flat), size)]
    return flat
