"""Input matrix: features to the model's rows, and what a missing vector becomes; matrices of many requests to one.

Knows nothing of Redis or scores.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ranker.vectors.rows import Features, Matrix, RowStatus
from ranker.vectors.schema import FeatureSchema


class GroupColumns:
    """Puts the rows of groups under keys of their own, and of side information, among what a request brings.

    Args:
        schema: Which columns are whose.
    """

    def __init__(self, schema: FeatureSchema) -> None:
        self._defaults = schema.defaults[schema.stored_width :]
        self._places: list[tuple[str, slice, npt.NDArray[np.float32]]] = []
        first = schema.user.width + schema.product.width
        start = 0
        for name, group in schema.groups.items():
            if name in schema.keyed or name in schema.side_information:
                self._places.append((name, slice(start - first, start - first + group.width), group.defaults))
            start += group.width

    def fill(self, context: Matrix | None, features: Features) -> Matrix | None:
        """Return what a request of n products brings, shape (n, F - stored width), with its groups' rows in it.

        Args:
            context: What it brings, defaults in the groups' columns; it is written to. None for defaults.
            features: With the rows of its groups; without them, nothing is done.
        """
        if features.groups is None:
            return context
        if context is None:
            context = np.tile(self._defaults, (len(features.products), 1))
        for name, at, defaults in self._places:
            rows = features.groups[name]
            columns = context[:, at]
            columns[:] = rows.values
            if not rows.complete:
                columns[np.broadcast_to(rows.statuses != RowStatus.FOUND, len(columns))] = defaults
        return context


class Assembler:
    """Builds float32 matrices (n, F) of rows `user features | product features | what the request brings`.

    Args:
        schema: What the columns are.
        prepared: Whether the products' rows have prepared columns behind their features, which a matrix has not.
    """

    def __init__(self, schema: FeatureSchema, *, prepared: bool = False) -> None:
        self._schema = schema
        self._width = schema.width
        self._user_width = schema.user.width
        self._product_width = schema.product.width
        self._only_features = not prepared
        self._stored_width = schema.stored_width
        self._context_defaults = schema.defaults[schema.stored_width :]

    def matrix(self, features: Features, context: Matrix | None = None) -> Matrix:
        """Return the model's input for one request.

        A user or product whose vector is missing, corrupt or of another schema gets the schema's default row.

        Args:
            features: One user, n products.
            context: What the request brings, shape (n, F - stored width), float32; None for defaults.

        Returns:
            Shape (n, F), float32, C-contiguous.
        """
        rows = self.block(len(features.products))
        self.fill(rows, features, context)
        return rows

    def block(self, rows: int) -> Matrix:
        """Return room for so many rows, shape (rows, F), float32, C-contiguous, with whatever is in it."""
        return np.empty((rows, self._width), dtype=np.float32)

    def fill(self, rows: Matrix, features: Features, context: Matrix | None) -> None:
        """Write the n rows that `matrix` returns, shape (n, F)."""
        user, products = features.user, features.products
        rows[:, : self._user_width] = user.values if user.complete else self._schema.user.defaults
        product_columns = rows[:, self._user_width : self._stored_width]
        product_columns[:] = products.values if self._only_features else products.values[:, : self._product_width]
        if not products.complete:
            product_columns[products.statuses != 0] = self._schema.product.defaults
        if self._stored_width < self._width:
            rows[:, self._stored_width :] = self._context_defaults if context is None else context
