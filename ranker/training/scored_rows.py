"""Scored rows: those that a trainer has scored, and how a graph's scores differ from theirs.

Owns what is compared and within which tolerance. Knows neither why scores differ nor a model store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.errors import ModelRejected
from ranker.importing.layout import Layout
from ranker.ranking.agreement import rank_correlation
from ranker.scoring.model import OnnxModel
from ranker.training.frames import column_names, matrix_of, rows_of_lists
from ranker.vectors.rows import Matrix, Scores
from ranker.vectors.schema import FeatureSchema

TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows with their trainer's scores.

    Attributes:
        matrix: Shape (n, F), as the service would make it.
        scores: Shape (n,): what the trainer's own library gives.
        lists: The rows of each list, for models that score lists together; one list of all where None.
        file_order: The features in the order of the file's columns.
    """

    matrix: Matrix
    scores: npt.NDArray[np.float64]
    lists: list[npt.NDArray[np.intp]] | None
    file_order: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of the graph's scores with the trainer's.

    Attributes:
        rows: How many were compared.
        largest: The largest difference.
        at: The row that has it.
        here: The graph's score there.
        there: The trainer's.
        correlation: Spearman's rho over all rows.
        agrees: Whether no difference is beyond the tolerance.
    """

    rows: int
    largest: float
    at: int
    here: float
    there: float
    correlation: float
    agrees: bool

    def __str__(self) -> str:
        return (
            f"{self.rows:,} rows, largest difference {self.largest:.3g}, rank correlation {self.correlation:.6g}"
            if self.agrees
            else f"{self.rows:,} rows, largest difference {self.largest:.3g} (row {self.at + 1}: {self.here:g} here, "
            f"{self.there:g} there), rank correlation {self.correlation:.3g}"
        )


def take_rows(
    schema: FeatureSchema,
    frame: Mapping[str, Any],
    score_column: str,
    list_column: str | None = None,
    *,
    allow_rounding: bool = False,
) -> Rows:
    """Make rows of a frame that has a column for each feature, and one for the score.

    Raises:
        ModelRejected: there is no such column, or the scores are no numbers.
        FeatureError: the features cannot be had from it.
    """
    for column in filter(None, (score_column, list_column)):
        if column not in frame:
            raise ModelRejected(f"The rows have no column {column}; they have {', '.join(list(frame)[:20])}.")
    try:
        scores = np.asarray(frame[score_column], dtype=np.float64)
    except (TypeError, ValueError) as err:
        raise ModelRejected(f"The scores in {score_column} are no numbers: {err}.") from err
    if not scores.size:
        raise ModelRejected("There are no rows to compare.")
    matrix = matrix_of(schema, frame, allow_rounding=allow_rounding)
    called = {*column_names(schema), *(located.name for located in Layout(schema).features)}
    order = tuple(column for column in frame if column in called)
    return Rows(matrix, scores, None if list_column is None else rows_of_lists(frame[list_column]), order)


def compare(model: OnnxModel, rows: Rows, tolerance: float = TOLERANCE) -> Comparison:
    """Compare a graph's scores with the trainer's; each may differ by `tolerance`, and that share of it.

    Raises:
        ModelError: the graph cannot score the rows.
    """
    scores = np.empty(len(rows.matrix), dtype=np.float32)
    lists = rows.lists if model.schema.rows == "together" else None
    for places in [slice(None)] if lists is None else lists:
        scores[places] = model.score(rows.matrix[places])
    return _compared(scores, rows.scores, tolerance)


def _compared(here: Scores, there: npt.NDArray[np.float64], tolerance: float) -> Comparison:
    with np.errstate(invalid="ignore"):
        differences = np.abs(here.astype(np.float64) - there)
    differences[(here == there) | (np.isnan(here) & np.isnan(there))] = 0.0
    differences = np.nan_to_num(differences, nan=np.inf)
    allowed = tolerance + tolerance * np.abs(np.nan_to_num(there))
    at = int(np.argmax(differences))
    correlation = rank_correlation(here, there.astype(np.float32)) if len(here) > 1 else float("nan")
    agrees = bool((differences <= allowed).all())
    return Comparison(len(here), float(differences[at]), at, float(here[at]), float(there[at]), correlation, agrees)
