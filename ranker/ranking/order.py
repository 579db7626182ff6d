"""Ranking order: stable ties, infinities at their end, NaN last, the best k; and scores as JSON can say them.

Knows nothing of where scores come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Literal

import numpy as np
import numpy.typing as npt

from ranker.vectors.feature import LARGEST
from ranker.vectors.rows import ProductId, Scores

Order = npt.NDArray[np.intp]
"""Positions in the request, best first."""

MissingProduct = Literal["default", "last", "drop"]
"""Place of a product without features: by its score for the default vector, behind all others, or nowhere."""


def order(scores: Scores, top_k: int | None = None) -> Order:
    """Return the positions of the best `top_k` scores (all when None), best first.

    Args:
        scores: Shape (n,), float32. Equal scores keep their order; infinity ranks first, minus infinity behind all
            numbers, NaN last, in order.
        top_k: How many positions to return, at least 1.

    Returns:
        Shape (min(n, top_k),), intp.
    """
    # Negating keeps NaN, which numpy sorts last; a stable sort keeps ties in request order.
    return (-scores).argsort(kind="stable")[:top_k]


def order_together(lists: Sequence[Scores]) -> list[Order]:
    """Return what `order` would for each of several lists; in one sort where all are of one length."""
    if len(lists) < 2 or len(set(map(len, lists))) > 1:
        return [order(scores) for scores in lists]
    return list((-np.concatenate(lists)).reshape(len(lists), -1).argsort(axis=1, kind="stable"))


def pick(product_ids: Sequence[ProductId], positions: Order) -> list[ProductId]:
    """Return the products at these positions."""
    if len(positions) < 2:  # itemgetter of one position returns no tuple, of none fails
        return [product_ids[i] for i in positions.tolist()]
    return list(itemgetter(*positions.tolist())(product_ids))


def presentable(scores: Scores) -> Scores:
    """Return the scores with the largest float32, 3.4028235e38, in place of infinity: JSON has none."""
    return scores.clip(-LARGEST, LARGEST)


def order_with_missing(
    scores: Scores, absent: npt.NDArray[np.bool_], missing_product: MissingProduct, top_k: int | None = None
) -> Order:
    """Return the positions of the best `top_k` scores as `order` does, where some products have no features.

    Args:
        scores: Shape (n,), float32.
        absent: Shape (n,): which have none.
        missing_product: Where these stand; among themselves in request order when they come last.
        top_k: How many positions to return, at least 1.
    """
    if missing_product == "default":
        return order(scores, top_k)
    (present,) = (~absent).nonzero()
    positions: Order = present[order(scores[present])]
    if missing_product == "last":
        positions = np.concatenate((positions, *absent.nonzero()))
    return positions[:top_k]
