"""Preparation: the product part on an event loop, in slices that hold up nobody, so that reads of many products may.

Owns how long a slice is, and that a product whose columns the part cannot take costs itself alone. Knows nothing of
where rows come from or are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

import numpy as np

from ranker.errors import ModelFailed
from ranker.scoring.scorer import FIXED_ROWS, Scorer
from ranker.scoring.split.product_part import ProductPart
from ranker.vectors.rows import Matrix

TRIALS = 3
"""Slices of default products at the start, after which about half of what a row takes is known."""
MOST_ROWS = 1024
"""Products of a slice at most."""


class Preparation:
    """Prepares products for whoever waits, one slice in a turn of the event loop, however many wait.

    Args:
        part: Prepares.
        on_prepared: Told the seconds and the products of each slice, for metrics; maybe in another thread.
        background: Nobody waits for what is prepared: all of it goes to a thread, which gets what the others leave.

    Attributes:
        width: Wk, the number of prepared columns of a product.
        default: The default product's, shape (Wk,), float32, read-only.
    """

    def __init__(
        self,
        part: ProductPart,
        on_prepared: Callable[[float, int], None] = lambda *_: None,
        *,
        background: bool = False,
    ) -> None:
        self._part = part
        self._on_prepared = on_prepared
        self.width = part.width
        self.default = part.default
        self._scorer = Scorer(self._timed, background=background)
        self._turn = asyncio.Lock()
        for _ in range(TRIALS):
            self._scorer.at_once(np.tile(part.default_product, (FIXED_ROWS, 1)))

    async def prepare(self, products: Matrix) -> tuple[Matrix, dict[int, str]]:
        """Return the prepared columns of products, and which products have none, with the reason.

        Args:
            products: Shape (n, Wp), float32.

        Returns:
            Shape (n, Wk), float32, with the default's columns in place of those that a product does not have; and the
            reasons, by position.
        """
        prepared = np.empty((len(products), self.width), dtype=np.float32)  # unused where one slice has all
        reasons: dict[int, str] = {}
        waiting = [(0, len(products))]
        while waiting:
            start, stop = waiting.pop()
            async with self._turn:
                if stop - start > (rows := self._slice_rows()):
                    waiting.append((start + rows, stop))
                    stop = start + rows
                try:
                    part = await self._slice(products[start:stop])
                    if len(part) == len(products):
                        return part, reasons
                    prepared[start:stop] = part
                except ModelFailed as err:
                    if stop - start == 1:
                        prepared[start] = self.default
                        reasons[start] = err.reason
                    else:
                        middle = (start + stop) // 2
                        waiting += [(middle, stop), (start, middle)]
        return prepared, reasons

    def close(self) -> None:
        """Let the thread end."""
        self._scorer.close()

    def _slice_rows(self) -> int:
        """Return how many products are prepared at a time; in the thread few, for others wait for it, too."""
        return int(min(self._scorer.inline_rows or FIXED_ROWS, MOST_ROWS))

    async def _slice(self, products: Matrix) -> Matrix:
        prepared = self._scorer.begin(products)
        if not isinstance(prepared, np.ndarray):
            return await prepared
        await asyncio.sleep(0)
        return prepared

    def _timed(self, products: Matrix) -> Matrix:
        began = perf_counter()
        prepared = self._part.prepare(products)
        self._on_prepared(perf_counter() - began, len(products))
        return prepared
