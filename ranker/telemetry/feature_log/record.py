"""Record of one served request, and its columns taken apart and put together again. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ranker.ranking.order import MissingProduct
from ranker.ranking.timings import Timings
from ranker.vectors.rows import Matrix, RowStatus, Scores, Statuses
from ranker.vectors.schema import FeatureSchema

FORMAT = 1
STATUSES = tuple(status.name.lower() for status in RowStatus)
"""`RowStatus` → its word in a log."""
GROUPS = ("user_features", "product_features", "context_features", "product_context_features")
"""The columns of a matrix, in their order, as a log names them.

Groups under keys of their own are behind what the request brings: those per user, or those per product."""
_EACH = ("product_features", "product_context_features")
"""Groups with values for each product; the others are the same in all rows, and kept once."""
ID_BYTES = 100
"""About what an id and a reference to it take."""

Widths = tuple[int, int, int, int]
"""Number of columns of each of `GROUPS`."""


@dataclass(slots=True)
class Record:
    """One served request: n products, F columns.

    Attributes:
        time_s: When the answer was made, in seconds of Unix time.
        request_id: The caller's.
        user_id: Whose page it was; None for nobody's, whose features are the schema's defaults.
        model: The tag of the model that ranked.
        fingerprint: Its schema's.
        product_ids: In the order of the request.
        top_k: How many were asked for, n at most, for callers may ask for any number; None for all.
        missing_product: What became of products without features.
        matrix: What the model was given, shape (n, F), float32.
        widths: Of `GROUPS`.
        user_status: A `RowStatus`.
        product_statuses: Shape (n,), uint8, each a `RowStatus`; what is not found has the schema's default in `matrix`.
        scores: Shape (n,), float32, in the order of the request; NaN where there is none.
        ranking: Product ids as served, best first.
        degraded_reason: A stable word, or None for a full answer.
        cache_hits: How many of the 1 + n vectors were in the near cache.
        batch_requests: Requests in the call of the model that scored it; None where that is not known.
        batch_rows: Rows of that call.
        timings: Seconds each step took.
    """

    time_s: float
    request_id: str
    user_id: str | None
    model: str
    fingerprint: int
    product_ids: Sequence[str]
    top_k: int | None
    missing_product: MissingProduct
    matrix: Matrix
    widths: Widths
    user_status: int
    product_statuses: Statuses
    scores: Scores
    ranking: Sequence[str]
    degraded_reason: str | None
    cache_hits: int
    batch_requests: int | None
    batch_rows: int | None
    timings: Timings

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes."""
        return self.matrix.nbytes + 2 * ID_BYTES * len(self.product_ids)

    def parts(self) -> dict[str, Matrix]:
        """Return the matrix by group: one row's values where all rows have them, n rows' values behind one another."""
        parts, start = {}, 0
        for name, width in zip(GROUPS, self.widths, strict=True):
            columns = self.matrix[:, start : start + width]
            parts[name] = columns.ravel() if name in _EACH else columns[0]
            start += width
        return parts


def check_lists(record: Record) -> Record:
    """Return a record that was read, when its lists have an entry for each product.

    Raises:
        ValueError: one has not.
    """
    n = len(record.product_ids)
    for name, values in (("scores", record.scores), ("product_statuses", record.product_statuses)):
        if len(values) != n:
            raise ValueError(f"a record of {n} products has {len(values)} {name}")
    return record


def widths_of(schema: FeatureSchema) -> Widths:
    """Return how many columns each group of a schema has."""
    each = schema.width - schema.stored_width - schema.once_width
    return schema.user.width, schema.product.width, schema.once_width, each


def join_parts(parts: Mapping[str, Matrix], n: int) -> tuple[Matrix, Widths]:
    """Return the matrix (n, F) whose `Record.parts` these are, and its widths.

    Raises:
        ValueError: the parts do not have n rows.
    """
    columns: Sequence[Matrix] = [
        parts[name].reshape(n, -1) if name in _EACH else np.broadcast_to(parts[name], (n, len(parts[name])))
        for name in GROUPS
    ]
    user, product, context, product_context = (part.shape[1] for part in columns)
    return np.hstack(columns, dtype=np.float32), (user, product, context, product_context)
