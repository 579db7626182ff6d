"""Product part: a product's stored columns → prepared columns, which are kept with the row that they were made from.

Owns how prepared columns lie in a row: those that the pair part reads, then the masks of the trees, each of 64 bits as
two float32 by view. Nothing may do arithmetic on masks. Knows nothing of the other parts, or of where rows are kept.
"""

from __future__ import annotations

import numpy as np

from ranker.errors import ModelFailed, ModelRejected, WrongShape
from ranker.scoring.session import Session
from ranker.scoring.shapes import FLOAT32
from ranker.scoring.split.parts import Masks, Parts, Side
from ranker.scoring.split.side_part import run_side
from ranker.vectors.rows import Matrix
from ranker.vectors.schema import FeatureSchema


class ProductPart:
    """Prepares products. Safe to use from several threads.

    Args:
        parts: What the import has made of the graph.
        schema: What the product's columns are.
        threads: How many threads ONNX Runtime may use within one call.

    Attributes:
        width: Wk, the number of prepared columns of a product; even, so that masks lie where 64 bits may.
        default_product: The default product's columns, shape (Wp,), float32.
        default: What is prepared of it, shape (Wk,), float32, read-only.

    Raises:
        ModelRejected: it does not load, or cannot prepare the default product.
    """

    def __init__(self, parts: Parts, schema: FeatureSchema, *, threads: int = 1) -> None:
        self._product_width = schema.product.width
        self._session = None if parts.product is None else Session(parts.product, threads)
        self._trees = parts.trees
        self._kept = np.array(parts.pair_needs_product, dtype=np.intp)
        self._kept_as_they_lie = bool((self._kept == np.arange(len(self._kept))).all())
        self._masks_at = len(self._kept) + len(self._kept) % 2
        self.width = self._masks_at + (0 if self._trees is None else 2 * self._trees.words)
        self.default_product: Matrix = schema.product.defaults
        default = self.default_product[np.newaxis]
        try:
            columns = run_side(self._session, Side.PRODUCT, default).shape[1]
            if len(self._kept) and not 0 <= self._kept.min() <= self._kept.max() < columns:
                raise ModelRejected(f"The pair part reads column {self._kept.max()} of a product part of {columns}.")
            self.default: Matrix = self.prepare(default)[0]
        except (ModelFailed, WrongShape) as err:
            raise ModelRejected(f"The product part cannot prepare the default product. {err}") from err
        self.default.flags.writeable = False

    def prepare(self, products: Matrix) -> Matrix:
        """Return the prepared columns of products.

        Args:
            products: Shape (n, Wp), float32.

        Returns:
            Shape (n, Wk), float32.

        Raises:
            WrongShape: another width or dtype, or a graph that gives not one row for each.
            ModelFailed: ONNX Runtime raised, such as for an id that an embedding does not know.
        """
        if products.ndim != 2 or products.shape[1] != self._product_width or products.dtype != FLOAT32:
            what = f"The {products.dtype} matrix of products"
            raise WrongShape(what, products.shape, f"(n, {self._product_width}) of float32")
        n = len(products)
        if not n:
            return np.empty((0, self.width), dtype=np.float32)
        part = run_side(self._session, Side.PRODUCT, products)
        if self._trees is not None and not len(self._kept):
            return self._trees.masks(Side.PRODUCT, part).view(np.float32)
        if self._trees is None and self._kept_as_they_lie and part.shape[1] == self.width:
            return part
        prepared = np.zeros((n, self.width), dtype=np.float32)
        prepared[:, : len(self._kept)] = (
            part[:, : len(self._kept)] if self._kept_as_they_lie else part.take(self._kept, axis=1)
        )
        if self._trees is not None:
            prepared[:, self._masks_at :] = self._trees.masks(Side.PRODUCT, part).view(np.float32)
        return prepared

    @property
    def kept_width(self) -> int:
        """How many of a product's prepared columns the pair part reads."""
        return len(self._kept)

    def kept(self, prepared: Matrix) -> Matrix:
        """Return what the pair part reads of prepared columns (n, Wk), C-contiguous."""
        return np.ascontiguousarray(prepared[:, : len(self._kept)])

    def masks(self, prepared: Matrix) -> Masks:
        """Return the trees' masks of prepared columns (n, Wk): a view where they lie as 64 bits may."""
        masks = prepared[:, self._masks_at :].view(np.uint64)
        return masks if masks.flags.aligned else masks.copy()
