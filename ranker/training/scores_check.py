"""Scores check: rows with the trainer's own scores, beside those of the graph; and what would explain a difference.

Only such rows tell a wrong order of columns, the wrong class or the wrong output: the graph itself scores them as well.
Owns the refusal. Knows no model store.
"""

from __future__ import annotations

from pathlib import Path

from ranker.errors import ModelRejected
from ranker.scoring.graph import proof
from ranker.scoring.model import OnnxModel
from ranker.training.scored_rows import TOLERANCE, Comparison, Rows, compare
from ranker.training.scores_explained import explain
from ranker.vectors.schema import FeatureSchema

MAX_TOGETHER = 64


def refuse_other_scores(
    content: bytes,
    graph: bytes,
    schema: FeatureSchema,
    rows: Rows,
    tolerance: float = TOLERANCE,
    folder: Path | None = None,
) -> Comparison:
    """Compare what was compiled with the trainer's scores, and see that the rows are scored alike in any company.

    Args:
        content: The ONNX file as it was exported.
        graph: What `compile_graph` has made of it.
        schema: What it was made with.
        rows: The rows.
        tolerance: As for `compare`.
        folder: Where the graph's weights lie, where they are in files of their own.

    Raises:
        ModelRejected: they are scored otherwise, with the line of the schema that would score them alike.
    """
    model = OnnxModel(graph, schema, folder=folder)
    found = compare(model, rows, tolerance)
    if not found.agrees:
        why = explain(content, schema, rows, found, tolerance, folder) or (
            "Neither another order of columns, nor another output or class, nor the negative explains it: compare what "
            "the trainer did to the features before the model saw them, and whether it was this very model."
        )
        raise ModelRejected(f"The graph scores otherwise than its trainer: {found}. {why}")
    if schema.rows == "independent":
        proof.refuse_difference(model.score, rows.matrix[:MAX_TOGETHER])
    return found
