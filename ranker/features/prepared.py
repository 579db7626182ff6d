"""Prepared rows: what a model makes of a product's features alone, appended to the row that it was made from.

So whatever holds for a row holds for it, too: it changes, ages and gives way with the row. Owns that a product which
cannot be prepared counts as missing, and that the log says so. Knows nothing of what prepares, or of what it makes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from ranker.features.reader import REPORT_INTERVAL_S, ReadRows
from ranker.features.shared_read import Read
from ranker.process.log_limit import Seldom
from ranker.vectors.rows import Matrix, Rows, RowStatus

logger = logging.getLogger("ranker.store")


class Preparation(Protocol):
    """Prepares products.

    Attributes:
        width: Wk, the number of columns that it makes.
    """

    width: int

    async def prepare(self, products: Matrix) -> tuple[Matrix, Mapping[int, str]]:
        """Return the prepared columns (n, Wk) of products (n, Wp), and why those at some positions have none."""


class Preparer:
    """Appends prepared columns to rows that were read.

    Args:
        width: Wp, the number of a product's columns.
        preparation: What makes the others.

    Attributes:
        width: The number of columns of a row: the product's, one more where that makes them even, the prepared ones.
    """

    def __init__(self, width: int, preparation: Preparation) -> None:
        self._product_width = width
        self._first = width + width % 2
        self._preparation = preparation
        self._reports = Seldom(REPORT_INTERVAL_S)
        self.width = self._first + preparation.width

    def reading(self, read: Read) -> Read:
        """Return what reads rows and prepares them."""

        async def prepared(ids: Sequence[str], requests: int) -> ReadRows:
            return await self.widen(ids, await read(ids, requests))

        return prepared

    async def widen(self, ids: Sequence[str], read: ReadRows) -> ReadRows:
        """Return what was read of n ids with the prepared columns of those rows that were found."""
        rows = read.rows
        values = (np.empty if rows.complete else np.zeros)((len(rows), self.width), dtype=np.float32)
        values[:, : self._product_width] = rows.values
        if rows.complete:
            values[:, self._product_width : self._first] = 0
            values[:, self._first :], reasons = await self._preparation.prepare(rows.values)
            failed = list(reasons)
        else:
            (found,) = (rows.statuses == RowStatus.FOUND).nonzero()
            values[found, self._first :], reasons = await self._preparation.prepare(rows.values[found])
            failed = found[list(reasons)].tolist()
        if not failed:
            return read._replace(rows=Rows(values, rows.statuses, rows.complete))
        statuses = rows.statuses.copy()
        statuses[failed] = RowStatus.CORRUPT
        if self._reports.due():
            logger.warning(
                "%d product vector(s) of one request count as missing (corrupt): the model cannot take them (%s), "
                "first: %r; more of this kind in the next %g s are only counted",
                len(failed),
                next(iter(reasons.values())),
                ids[failed[0]],
                REPORT_INTERVAL_S,
            )
        return read._replace(rows=Rows(values, statuses, complete=False))
