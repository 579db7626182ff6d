"""Scores to an order: stable ties, NaN last, the best k. Knows nothing of where scores come from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ranker.encoding import Scores

Order = npt.NDArray[np.intp]
"""Positions in the request, best first."""


def order(scores: Scores, top_k: int | None = None) -> Order:
    """Return the positions of the best `top_k` scores (all when None), best first.

    Args:
        scores: Shape (n,), float32. Equal scores keep their order; NaN ranks last, in order.
        top_k: How many positions to return, at least 1.

    Returns:
        Shape (min(n, top_k),), intp.
    """
    # Negating keeps NaN, which numpy sorts last; a stable sort keeps ties in request order.
    return (-scores).argsort(kind="stable")[:top_k]
