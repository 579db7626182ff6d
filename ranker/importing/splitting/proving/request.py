"""Request of a trial: one user with the products of several rows, as whole rows and as the parts take them.

Owns which columns are whose. Knows nothing of what is asked of a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from ranker.scoring.split.model import SplitModel, columns_of
from ranker.scoring.split.parts import Side
from ranker.vectors.rows import Matrix, Scores
from ranker.vectors.schema import FeatureSchema


class Request:
    """A request whose user and context are those of one row, and whose products are those of all.

    Args:
        schema: What the columns are.
        rows: Shape (n, F), float32.
        position: The row that says who asks.

    Attributes:
        matrix: As the whole graph takes it, shape (n, F).
        columns: What the request part takes, shape (1, Wr).
        products: What the product part takes, shape (n, Wp).
        pair: What the request says of each product, shape (n, Wc); None where Wc is 0.
    """

    def __init__(self, schema: FeatureSchema, rows: Matrix, position: int = 0) -> None:
        of = columns_of(schema)
        self.matrix = rows.copy()
        self.matrix[:, of[Side.REQUEST]] = rows[position, of[Side.REQUEST]]
        self.columns: Matrix = self.matrix[:1, of[Side.REQUEST]]
        self.products: Matrix = self.matrix[:, of[Side.PRODUCT]]
        self.pair: Matrix | None = self.matrix[:, of[Side.PAIR]] if len(of[Side.PAIR]) else None

    @classmethod
    def several(cls, schema: FeatureSchema, rows: Matrix, most: int) -> list[Self]:
        """Return requests of the first rows' users, each with the products of all."""
        return [cls(schema, rows, i) for i in range(min(most, len(rows)))]


class Round:
    """Requests that are scored together, with their products prepared.

    Args:
        split: The parts.
        requests: The requests; at least one.
    """

    def __init__(self, split: SplitModel, requests: Sequence[Request]) -> None:
        self._split = split
        self._columns = np.concatenate([request.columns for request in requests])
        self._prepared = np.concatenate([split.prepare(request.products) for request in requests])
        pairs = [request.pair for request in requests if request.pair is not None]
        self._pairs = np.concatenate(pairs) if pairs else None
        self._counts = np.array([len(request.matrix) for request in requests], dtype=np.int64)

    def score(self) -> Scores:
        """Score all rows, in the order of the requests, as the serving path does."""
        return self._split.score_parts(self._columns, self._prepared, self._pairs, self._counts)
