"""Features to the model's input matrix, and what a missing vector becomes. Knows nothing of Redis or scores."""

from __future__ import annotations

import numpy as np

from ranker.encoding import Features, Matrix
from ranker.schema import FeatureSchema


class Assembler:
    """Builds float32 matrices (n, F) of rows `user features | product features`."""

    def __init__(self, schema: FeatureSchema) -> None:
        self._schema = schema
        self._user_width = schema.user.width

    def matrix(self, features: Features) -> Matrix:
        """Return the model's input for one request.

        A user or product whose vector is missing, corrupt or of another schema gets the schema's default row.

        Returns:
            Shape (n, F), float32, C-contiguous.
        """
        user, products = features.user, features.products
        matrix = np.empty((len(products), self._schema.width), dtype=np.float32)
        matrix[:, : self._user_width] = user.values if user.complete else self._schema.user.defaults
        product_columns = matrix[:, self._user_width :]
        product_columns[:] = products.values
        if not products.complete:
            product_columns[products.statuses != 0] = self._schema.product.defaults
        return matrix
