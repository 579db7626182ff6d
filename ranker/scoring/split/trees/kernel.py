"""Choice of the kernel: compiled by numba where it can be imported, numpy's own operations where it cannot.

Owns that choice, made once and told once. Knows nothing of how a kernel works.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Protocol, cast

from ranker.scoring.split.parts import Masks, RowRequest
from ranker.scoring.split.trees import kernel_numpy
from ranker.scoring.split.trees.conditions import Conditions
from ranker.scoring.split.trees.leaves import Leaves
from ranker.scoring.split.trees.scores import Sums
from ranker.vectors.rows import Matrix

logger = logging.getLogger(__name__)


class Kernel(Protocol):
    """What an ensemble asks of a kernel."""

    def prepare(self, leaves: Leaves) -> None:
        """Compile what these leaves need."""

    def clear(self, conditions: Conditions, part: Matrix, masks: Masks) -> None:
        """Clear what each row's values, (n, K), rule out, in masks of shape (n, words)."""

    def add_votes(self, leaves: Leaves, request: Masks, product: Masks, row_request: RowRequest) -> Sums:
        """Return the sums of the leaves that the rows reach, shape (n, targets)."""


@cache
def choose_kernel() -> Kernel:
    """Return the quickest kernel that can be had here."""
    try:
        from ranker.scoring.split.trees import kernel_numba  # 0.3 s and 80 MB, which a model without trees does not pay
    except ImportError as err:
        logger.warning(
            "Trees are evaluated by numpy, several times slower than compiled (%s); to have them compiled, "
            "run `pip install 'bento-ranker[trees]'`.",
            err,
        )
        return cast(Kernel, kernel_numpy)
    return cast(Kernel, kernel_numba)
