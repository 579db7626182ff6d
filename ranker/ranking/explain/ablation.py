"""Ablation: edits of a matrix, and what each feature adds to a score. Pure.

A feature's contribution is the score less the score with that feature alone at the schema's default (ablation), so the
contributions of a model with interactions need not add up to the score. Owns which rows that takes, and how many at
most; knows nothing of who scores them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ranker.errors import InvalidRequest, UnusableValue
from ranker.vectors.feature import LARGEST, Feature
from ranker.vectors.feature.bounds import Bounds
from ranker.vectors.feature.values import parse
from ranker.vectors.rows import Matrix, Scores
from ranker.vectors.schema import FeatureSchema

MAX_EXPLAINED = 100
"""Products of one request whose features and contributions are shown; the best first."""
MAX_CELLS = 25_600
"""Features of these products together: 100 products of 256 features. As many rows are scored at most."""

Cells = npt.NDArray[np.intp]
"""Rows or columns of a matrix."""


class Provenance(NamedTuple):
    """Origin of one vector: `cache`, `redis`, or `default` and for what reason."""

    source: str
    reason: str | None


class Edit(NamedTuple):
    """One feature of a matrix to change, by its columns and what to write there; `row` None stands for all rows."""

    row: int | None
    columns: slice
    values: npt.NDArray[np.float32]


def read_edits(
    schema: FeatureSchema,
    user: Mapping[str, Any] | None,
    products: Mapping[str, Mapping[str, Any]] | None,
    product_ids: Sequence[str],
) -> list[Edit]:
    """Return the edits that a request asks for.

    Args:
        schema: The model's.
        user: Values by feature name, as the schema types them; None for the default.
        products: The same by product.
        product_ids: The request's products.

    Raises:
        InvalidRequest: naming every product and feature that is unknown, and every value that is none of its type.
    """
    edits: list[Edit] = []
    problems: list[str] = []

    def read(where: str, group: str, row: int | None, values: Mapping[str, Any]) -> None:
        columns = schema.columns_of(group) if group in schema.groups else []
        known = {feature.name: (feature, at) for feature, at in columns}
        for name, value in values.items():
            if name not in known:
                problems.append(f"{where}: this model has no such feature as {name[:40]!r}")
                continue
            feature, at = known[name]
            try:
                edits.append(Edit(row, at, schema.defaults[at] if value is None else _columns(feature, value)))
            except UnusableValue as err:
                problems.append(f"{where}.{name[:40]}: Input should be {err.reason}, or null")

    read("overrides.user", "user", None, user or {})
    rows = {product_id: row for row, product_id in enumerate(product_ids)} if products else {}
    for product_id, values in (products or {}).items():
        if product_id not in rows:
            problems.append(f"overrides.products: {product_id[:40]!r} is none of productIds")
        else:
            where = f"overrides.products.{product_id[:40]}"
            read(where, "product", rows[product_id], values)
    if problems:
        raise InvalidRequest(problems)
    return edits


def _columns(feature: Feature, value: Any) -> npt.NDArray[np.float32]:
    """Return the columns of an edited value; raise UnusableValue with what it should be."""
    if not feature.is_plain:
        try:
            columns = parse(feature, value)
        except UnusableValue as err:
            raise UnusableValue(feature.name, f"a value of {feature.type}, but {err.reason}") from None
    elif type(value) not in (float, int, bool) or not abs(value) <= LARGEST:  # said so, it refuses NaN too
        raise UnusableValue(feature.name, "a finite number, as a float32")
    else:
        columns = np.array([value], dtype=np.float32)
    bounds = Bounds((feature,), {feature.name: slice(0, feature.width)})
    if bounds.find_beyond(columns[np.newaxis])[0]:
        raise UnusableValue(feature.name, f"within its bounds, but {bounds.describe(columns)[1]}")
    return columns


def edit(matrix: Matrix, edits: Sequence[Edit]) -> None:
    """Change a matrix (n, F) in place."""
    for row, columns, values in edits:
        matrix[slice(None) if row is None else row, columns] = values


def choose_explained(ranked: Cells, width: int) -> Cells:
    """Return the first of the ranked rows, as many as are explained; one at least."""
    return ranked[: max(1, min(MAX_EXPLAINED, MAX_CELLS // width))]


class Ablation:
    """The rows whose scores tell what each feature of some products adds.

    A feature that has its default already adds nothing, and is not scored.

    Args:
        matrix: What was scored, shape (n, F), float32.
        rows: Which of its rows to explain.
        defaults: The default row, shape (F,), float32.
        widths: How many columns each feature has, in order.

    Attributes:
        complete: How many of `rows` `contributions` can tell of once all chunks are scored: those whose cells fit
            into `MAX_CELLS`.
    """

    def __init__(self, matrix: Matrix, rows: Cells, defaults: npt.NDArray[np.float32], widths: Sequence[int]) -> None:
        self._matrix = matrix
        self._rows = rows
        self._defaults = defaults
        self._first = np.cumsum([0, *widths[:-1]])
        self._owner = np.repeat(np.arange(len(widths)), widths)
        explained = matrix[rows]
        same = (explained == defaults) | (np.isnan(explained) & np.isnan(defaults))
        same = np.logical_and.reduceat(same, self._first, axis=1)
        self._ends = np.cumsum(np.count_nonzero(~same, axis=1))
        self.complete = int(np.searchsorted(self._ends, MAX_CELLS, side="right"))
        of, self._features = (~same[: self.complete]).nonzero()
        self._of = of

    def __len__(self) -> int:
        return len(self._of)

    def chunks(self, max_rows: int) -> Iterator[Matrix]:
        """Yield the rows to score, shape (at most max_rows, F), float32, in order of the products."""
        for start in range(0, len(self), max_rows):
            of, features = self._of[start : start + max_rows], self._features[start : start + max_rows]
            ablated = self._owner == features[:, np.newaxis]
            yield np.where(ablated, self._defaults, self._matrix[self._rows[of]])

    def contributions(self, scores: Scores, ablated: Scores) -> Matrix:
        """Return what each feature adds, for the k products whose rows have all been scored.

        Args:
            scores: Of the matrix, shape (n,).
            ablated: Of the chunks so far, shape (m,).

        Returns:
            Shape (k, F), float32: in the first of a feature's columns; 0 in the others.
        """
        k = int(np.searchsorted(self._ends[: self.complete], len(ablated), side="right"))
        m = int(self._ends[k - 1]) if k else 0
        of, columns = self._of[:m], self._first[self._features[:m]]
        contributions = np.zeros((k, len(self._defaults)), dtype=np.float32)
        with np.errstate(invalid="ignore"):  # of two infinities there is no difference
            contributions[of, columns] = scores[self._rows[of]] - ablated[:m]
        return contributions
