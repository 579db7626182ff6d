"""Shapes: which matrix a model takes, and scores in float32, in whichever type they were computed.

Owns both for every way to score, whole or in parts. Knows nothing of graphs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.errors import WrongShape
from ranker.vectors.rows import Matrix, Scores

FLOAT32 = np.dtype(np.float32)


def refuse_other_shape(matrix: Matrix, width: int) -> None:
    """Raise WrongShape for what is no matrix of so many columns, shape (n, width), float32."""
    if matrix.ndim != 2 or matrix.shape[1] != width or matrix.dtype != FLOAT32:
        raise WrongShape(f"The {matrix.dtype} matrix", matrix.shape, f"(n, {width}) of float32")


def as_float32(scores: npt.NDArray[Any]) -> Scores:
    """Return scores as float32, contiguous; a double beyond its range becomes infinite."""
    if scores.dtype == FLOAT32:
        return np.ascontiguousarray(scores)
    with np.errstate(over="ignore"):
        return scores.astype(FLOAT32)
