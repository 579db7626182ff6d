"""Parts of a split graph: what an import has made of it, as ONNX bytes and arrays.

Owns what crosses from a part to the next, and how it is called. Knows nothing of how a graph is split, of the store
that keeps the parts, or of how they are run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ranker.vectors.rows import Matrix

Masks = npt.NDArray[np.uint64]
"""Conditions of trees that one side decides, shape (n, words): a cleared bit is a leaf that cannot be reached."""
RowRequest = npt.NDArray[np.int64]
"""Which request each row is of, shape (N,)."""

REQUEST_INPUT = "request"
"""Input of the request part: (R, Wr), float32: the user's columns, then the context's."""
PRODUCT_INPUT = "product"
"""Input of the product part: (N, Wp), float32: the product's stored columns."""
REQUEST_PART = "request_part"
"""Output of the request part, and input of the pair part: (R, Kr), float32."""
PRODUCT_PART = "product_part"
"""Output of the product part, (N, Kp), float32; input of the pair part, which gets the columns that it needs."""
PAIR_COLUMNS = "pair_columns"
"""Input of the pair part: (N, Wc), float32: what the request says of each product."""
ROW_REQUEST = "row_request"
"""Input of the pair part: (N,), int64: which request each row is of."""
TREES = "trees"
"""Input of the pair part: (N, targets), float32: what the ensemble gives."""
SCORES = "scores"
"""Output of the pair part: (N,), float32 or float64."""


def two_rows(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return rows (n, …) to run a part for, of whose results the first n count: a lone row twice.

    ONNX Runtime may give a row other bits alone than beside others, where it takes another kernel; two rows get those
    of thousands. So a score has the same bits whichever way it comes.
    """
    return np.repeat(rows, 2, axis=0) if len(rows) == 1 else rows


class Side(StrEnum):
    """Side of the matrix that a value depends on."""

    REQUEST = "request"
    """The user and the request's context."""
    PRODUCT = "product"
    """What is stored of the product."""
    PAIR = "pair"
    """What the request says of each product, or both of the others."""


class Ensemble(Protocol):
    """Trees whose conditions are decided by the side that they look at."""

    @property
    def words(self) -> int:
        """Words of 64 bits that the masks of all trees take."""

    def save(self, path: Path) -> None:
        """Write the trees to an NPZ file; the same trees give the same bytes."""

    def masks(self, side: Side, part: Matrix) -> Masks:
        """Return the masks of rows of one side's part, (n, K), float32: shape (n, words), C-contiguous."""

    def evaluate(
        self,
        request_masks: Masks,
        product_masks: Masks,
        row_request: RowRequest,
        pair_columns: Matrix | None,
    ) -> Matrix:
        """Return what the trees give, post-transform included.

        Args:
            request_masks: Shape (R, words).
            product_masks: Shape (N, words); its rows may be strided.
            row_request: Shape (N,).
            pair_columns: Shape (N, Wc), float32; None where no condition looks at them.

        Returns:
            Shape (N, targets), float32.
        """


@dataclass(frozen=True)
class Parts:
    """Parts of one graph.

    Attributes:
        request: ONNX graph `request` -> `request_part`; None where the part is the columns as they are.
        product: ONNX graph `product` -> `product_part`; None likewise.
        pair: ONNX graph `request_part`, `product_part`, `pair_columns`, `row_request`, `trees` -> `scores`, which
            takes only those of them that it needs; None where the trees' one target is the score.
        trees: The ensemble, whose columns are named by side and position in that side's part; None without.
        pair_needs_product: Columns of `product_part` that the pair part reads, in the order that it reads them. The
            others feed only the trees' masks, and are not kept.
    """

    request: bytes | None
    product: bytes | None
    pair: bytes | None
    trees: Ensemble | None
    pair_needs_product: tuple[int, ...] = ()
