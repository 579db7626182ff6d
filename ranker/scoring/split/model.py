"""Split model: requests and prepared products → scores, by the parts of one graph; whole rows by the same parts.

Owns that a row has one score, whichever way it comes. Knows nothing of where prepared products are kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.errors import ModelFailed, ModelRejected, WrongShape
from ranker.scoring.session import Session
from ranker.scoring.shapes import FLOAT32, as_float32, refuse_other_shape
from ranker.scoring.split.parts import (
    PAIR_COLUMNS,
    PRODUCT_PART,
    REQUEST_PART,
    ROW_REQUEST,
    SCORES,
    TREES,
    Parts,
    Side,
    two_rows,
)
from ranker.scoring.split.product_part import ProductPart
from ranker.scoring.split.side_part import run_side
from ranker.vectors.rows import Counts, Matrix, Scores, SplitRows
from ranker.vectors.schema import FeatureSchema

CALL_BYTES = 400_000
"""Prepared columns of one call of the pair part, about, so that a core's second-level cache holds what it works on.

Of 1,600 rows of 512 columns, 100 take 344 us of CPU in calls of 200, and 395 in one call."""
LEAST_CALL_ROWS = 64
"""Rows of such a call at least, however wide they are: below, what a call costs itself would count."""


class SplitModel:
    """A ranking model in parts. Safe to use from several threads.

    Args:
        parts: What the import has made of the graph.
        schema: What the columns of a matrix are.
        threads: How many threads ONNX Runtime may use within one call.

    Attributes:
        schema: As given.
        width: F, the number of columns of a matrix.
        products: The product part.
        request_width: Wr, the number of columns of a request.
        pair_width: Wc, the number of columns that a request brings for each product.

    Raises:
        ModelRejected: a part does not load, or they do not fit the schema's widths or one another.
    """

    def __init__(self, parts: Parts, schema: FeatureSchema, *, threads: int = 1) -> None:
        if parts.pair is None and parts.trees is None:
            raise ModelRejected("The split has neither a pair part nor trees, so nothing that scores.")
        self.schema = schema
        self.width = schema.width
        self._columns = columns_of(schema)
        self.request_width = len(self._columns[Side.REQUEST])
        self.pair_width = len(self._columns[Side.PAIR])
        self.products = ProductPart(parts, schema, threads=threads)
        self._trees = parts.trees
        self._request = None if parts.request is None else Session(parts.request, threads)
        self._pair = None if parts.pair is None else Session(parts.pair, threads)
        self._takes = frozenset() if self._pair is None else frozenset(node.name for node in self._pair.inputs)
        self._needs_row_request = self._trees is not None or ROW_REQUEST in self._takes
        self._call_rows = max(LEAST_CALL_ROWS, CALL_BYTES // (FLOAT32.itemsize * max(1, self.products.kept_width)))
        try:
            self.score(np.repeat(schema.defaults[np.newaxis], 2, axis=0))
        except (ModelFailed, WrongShape) as err:
            raise ModelRejected(f"The split cannot score the default row. {err}") from err

    @property
    def prepared_width(self) -> int:
        """Wk, the number of prepared columns of a product."""
        return self.products.width

    def prepare(self, products: Matrix) -> Matrix:
        """Return the prepared columns (n, Wk) of products (n, Wp), float32; raises as `ProductPart.prepare` does."""
        return self.products.prepare(products)

    def score_parts(self, requests: Matrix, prepared: Matrix, pair_columns: Matrix | None, counts: Counts) -> Scores:
        """Score the prepared products of requests.

        Args:
            requests: Shape (R, Wr), float32: the user's columns, then the context's.
            prepared: Shape (N, Wk), float32; its rows may be strided, its columns not.
            pair_columns: Shape (N, Wc), float32; None where Wc is 0.
            counts: Shape (R,), int64: how many of the rows, in order, are each request's; N in all.

        Returns:
            Shape (N,), float32. NaN where the graph gives NaN.

        Raises:
            WrongShape: a graph that gives not one score per row.
            ModelFailed: ONNX Runtime raised.
        """
        n = len(prepared)
        if not n:
            return np.empty(0, dtype=np.float32)
        if pair_columns is not None:
            pair_columns = np.ascontiguousarray(pair_columns)
        part = run_side(self._request, Side.REQUEST, requests)
        row_request = np.repeat(np.arange(len(counts)), counts) if self._needs_row_request else None
        trees: Matrix | None = None
        if self._trees is not None and row_request is not None:
            of_requests, of_products = self._trees.masks(Side.REQUEST, part), self.products.masks(prepared)
            trees = self._trees.evaluate(of_requests, of_products, row_request, pair_columns)
        raw = (
            trees
            if self._pair is None
            else self._run_pair(self._pair, part, prepared, pair_columns, row_request, trees)
        )
        if raw is None or raw.size != n:
            raise WrongShape(
                "The pair part's scores", () if raw is None else raw.shape, f"one score for each of {n} rows"
            )
        return as_float32(raw.reshape(-1))

    def score_rows(self, rows: SplitRows) -> Scores:
        """Score the rows of a round, shape (N,); raises as `score_parts` does."""
        return self.score_parts(rows.requests, rows.prepared, rows.pair, rows.counts)

    def score(self, matrix: Matrix) -> Scores:
        """Score whole rows, each as a request of one product.

        Args:
            matrix: Shape (n, F), float32.

        Returns:
            Shape (n,), float32. NaN where the graph gives NaN.

        Raises:
            WrongShape: another width, number of axes or dtype, or a graph that gives not one score per row.
            ModelFailed: ONNX Runtime raised, such as for a category that an embedding does not know.
        """
        refuse_other_shape(matrix, self.width)
        requests, products, pair = (matrix.take(self._columns[side], axis=1) for side in Side)
        ones = np.ones(len(matrix), dtype=np.int64)
        return self.score_parts(requests, self.prepare(products), pair if self.pair_width else None, ones)

    def _run_pair(
        self,
        pair: Session,
        part: Matrix,
        prepared: Matrix,
        pair_columns: Matrix | None,
        row_request: npt.NDArray[np.int64] | None,
        trees: Matrix | None,
    ) -> npt.NDArray[Any]:
        takes, n = self._takes, len(prepared)
        rows: dict[str, npt.NDArray[Any] | None] = {
            PRODUCT_PART: prepared if PRODUCT_PART in takes else None,
            PAIR_COLUMNS: pair_columns,
            ROW_REQUEST: row_request,
            TREES: trees,
        }
        given = {name: array for name, array in rows.items() if name in takes and array is not None}
        calls = max(1, n // self._call_rows)
        ends = [n * (i + 1) // calls for i in range(calls)]
        scores = [
            self._call_pair(pair, part, {name: array[start:stop] for name, array in given.items()}, stop - start)
            for start, stop in zip([0, *ends], ends, strict=False)
        ]
        return scores[0] if calls == 1 else np.concatenate(scores)

    def _call_pair(self, pair: Session, part: Matrix, rows: dict[str, npt.NDArray[Any]], n: int) -> npt.NDArray[Any]:
        """Run the pair part for n rows."""
        if PRODUCT_PART in rows:
            rows[PRODUCT_PART] = self.products.kept(rows[PRODUCT_PART])
        feeds = {name: two_rows(np.ascontiguousarray(given)) for name, given in rows.items()}
        if REQUEST_PART in self._takes:
            feeds[REQUEST_PART] = part
        (scores,) = pair.run((SCORES,), feeds, n)
        return scores[:n]


def columns_of(schema: FeatureSchema) -> dict[Side, npt.NDArray[np.intp]]:
    """Return the columns of a matrix that each side has, in order."""
    of: dict[Side, list[int]] = {side: [] for side in Side}
    first = 0
    for name, group in schema.groups.items():
        side = Side.PRODUCT if name == "product" else Side.REQUEST if name in schema.request_side else Side.PAIR
        of[side] += range(first, first := first + group.width)
    return {side: np.array(columns, dtype=np.intp) for side, columns in of.items()}
