"""Split rows: features to what a split model takes: a request's row once, its products' prepared columns as they lie.

Owns how columns are told apart, and that nothing is copied that was taken out of a store in one block. Knows nothing of
what prepares products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from ranker.errors import ModelFailed
from ranker.ranking.rounds.entry import Entry, Piece
from ranker.vectors.rows import Features, Matrix, SplitRows
from ranker.vectors.schema import FeatureSchema


class Preparation(Protocol):
    """Prepares products.

    Attributes:
        width: Wk, the number of columns that it makes.
        default: The default product's, shape (Wk,), float32.
    """

    width: int
    default: Matrix

    async def prepare(self, products: Matrix) -> tuple[Matrix, Mapping[int, str]]:
        """Return the prepared columns (n, Wk) of products (n, Wp), and why those at some positions have none."""


class SplitAssembler:
    """Says where the rows of entries lie, for a split model.

    Args:
        schema: What the columns of a matrix are.
        preparation: What makes the prepared columns, which are the last of a product's row.
    """

    def __init__(self, schema: FeatureSchema, preparation: Preparation) -> None:
        self._schema = schema
        self._preparation = preparation
        self._user_width = schema.user.width
        self._stored_width = schema.stored_width
        self._once_width = schema.once_width
        self._request_width = self._user_width + self._once_width
        self._pair_width = schema.width - schema.stored_width - self._once_width
        self._context_defaults = schema.defaults[schema.stored_width :]
        self._block, self._prepared = _NO_BLOCK, _NO_BLOCK

    def block(self, requests: int) -> Matrix:
        """Return room for so many requests, shape (requests, Wr), float32."""
        return np.empty((requests, self._request_width), dtype=np.float32)

    def place(self, entry: Entry, request: Matrix, features: Features, context: Matrix | None) -> None:
        """Place the n rows of one request.

        A user whose vector is missing, corrupt or of another schema gets the schema's default row; a product, what is
        prepared of that.

        Args:
            entry: Whose rows they are.
            request: Room for its row, shape (1, Wr).
            features: One user, n products with their prepared columns.
            context: What the request brings, shape (n, F - stored width), float32; None for defaults.
        """
        user, products = features.user, features.products
        request[:, : self._user_width] = user.values if user.complete else self._schema.user.defaults
        if self._once_width:
            request[:, self._user_width :] = (
                self._context_defaults[: self._once_width] if context is None else context[:1, : self._once_width]
            )
        pair: Matrix | None = None
        if self._pair_width:
            pair = (
                np.tile(self._context_defaults[self._once_width :], (entry.rows, 1))
                if context is None
                else context[:, self._once_width :]
            )
        block, first = _find_block(products.values)
        if block is not self._block:
            self._block, self._prepared = block, block[:, block.shape[1] - self._preparation.width :]
        prepared = entry.place_split(self._prepared, first, request, pair)
        if not products.complete:
            if not prepared.flags.writeable:  # others have these rows
                prepared = entry.place_split(prepared.copy(), 0, request, pair)
            prepared[products.statuses != 0] = self._preparation.default

    def forget(self) -> None:
        """Hold no block that was placed."""
        self._block = self._prepared = _NO_BLOCK

    async def place_whole(self, entry: Entry, matrix: Matrix) -> None:
        """Place whole rows (n, F), each a request of its own.

        Raises:
            ModelFailed: a product cannot be prepared.
        """
        prepared, reasons = await self._preparation.prepare(matrix[:, self._user_width : self._stored_width])
        if reasons:
            raise ModelFailed(len(matrix), next(iter(reasons.values())))
        brought = matrix[:, self._stored_width :]
        requests = np.concatenate((matrix[:, : self._user_width], brought[:, : self._once_width]), axis=1)
        entry.place_split(prepared, 0, requests, brought[:, self._once_width :] if self._pair_width else None)


_NO_BLOCK = np.empty((0, 0), dtype=np.float32)


def join_split(pieces: Sequence[Piece], prepared: Matrix) -> SplitRows:
    """Return what goes out with one call, given the prepared columns of its pieces."""
    if len(pieces) == 1:
        ((entry, start, stop),) = pieces
        requests, counts = _requests(entry, start, stop), [stop - start]
        if len(requests) > 1:
            counts = [1] * len(requests)
        pair = None if entry.pair is None else entry.pair[start:stop]
        return SplitRows(requests, prepared, pair, np.array(counts, dtype=np.int64))
    parts = [_requests(entry, start, stop) for entry, start, stop in pieces]
    counts = []
    for (_, start, stop), part in zip(pieces, parts, strict=True):
        counts += [stop - start] if len(part) == 1 else [1] * len(part)
    pairs = [entry.pair[start:stop] for entry, start, stop in pieces if entry.pair is not None]
    pair = np.concatenate(pairs) if pairs else None
    return SplitRows(np.concatenate(parts), prepared, pair, np.array(counts, dtype=np.int64))


def _requests(entry: Entry, start: int, stop: int) -> Matrix:
    """Return the requests that rows of an entry belong to: its one, or where each row has its own, these."""
    return entry.requests if len(entry.requests) == 1 else entry.requests[start:stop]


def _find_block(values: Matrix) -> tuple[Matrix, int]:
    """Return the block that a request's rows were taken out with, and where they begin in it.

    numpy knows it as the owner of the view's memory.
    """
    block = values.base
    if not isinstance(block, np.ndarray) or block.shape[1:] != values.shape[1:] or block.strides != values.strides:
        return values, 0
    behind = values.__array_interface__["data"][0] - block.__array_interface__["data"][0]
    return block, behind // values.strides[0]
