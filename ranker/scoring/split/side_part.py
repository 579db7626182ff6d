"""Side part: runs the graph of the request's or of the product's side for its columns.

Owns that a lone row gets the bits it has beside others, and that a graph gives a row of float32 for each. Knows nothing
of what becomes of them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ranker.errors import WrongShape
from ranker.scoring.session import Session
from ranker.scoring.shapes import FLOAT32
from ranker.scoring.split.parts import PRODUCT_INPUT, PRODUCT_PART, REQUEST_INPUT, REQUEST_PART, Side, two_rows
from ranker.vectors.rows import Matrix

_ENDS = {Side.REQUEST: (REQUEST_INPUT, REQUEST_PART), Side.PRODUCT: (PRODUCT_INPUT, PRODUCT_PART)}
"""Input and output of each side's graph."""


def run_side(session: Session | None, side: Literal[Side.REQUEST, Side.PRODUCT], columns: Matrix) -> Matrix:
    """Return what a side's graph gives for its columns (n, W), shape (n, K), float32; these where it has no graph.

    Raises:
        WrongShape: the graph gives not one row of float32 for each.
        ModelFailed: ONNX Runtime raised, such as for an id that an embedding does not know.
    """
    n, rows = len(columns), two_rows(np.ascontiguousarray(columns))
    if session is None:
        return rows[:n]
    input_name, output_name = _ENDS[side]
    (part,) = session.run((output_name,), {input_name: rows}, n)
    if part.ndim != 2 or len(part) != len(rows) or part.dtype != FLOAT32:
        raise WrongShape(f"The {side} part, of {part.dtype},", part.shape, f"({len(rows)}, K) of float32")
    return part[:n]
