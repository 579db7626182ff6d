"""Scores check: rows with the trainer's own scores, beside those of the graph; and what would explain a difference.

Only such rows tell a wrong order of columns, the wrong class or the wrong output: the graph itself scores them as well.
Owns the comparison and the explanations that it tries. Knows no model store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.errors import ModelError, ModelRejected
from ranker.importing.compile import compile_graph
from ranker.importing.layout import Layout
from ranker.ranking.agreement import rank_correlation
from ranker.scoring.graph import proof
from ranker.scoring.graph.inputs import quoted
from ranker.scoring.model import OnnxModel
from ranker.scoring.session import Session
from ranker.training.frames import column_names, matrix_of
from ranker.vectors.rows import Matrix, Scores
from ranker.vectors.schema import FeatureSchema

TOLERANCE = 1e-4
MAX_EXPLANATIONS = 60
MAX_CLASSES = 8
MAX_TOGETHER = 64
SAME_ORDER = 0.9999


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows with their trainer's scores.

    Attributes:
        matrix: Shape (n, F), as the service would make it.
        scores: Shape (n,): what the trainer's own library gives.
        lists: Where each list begins and ends, for models that score lists together; one for all where None.
        file_order: The features in the order of the file's columns.
    """

    matrix: Matrix
    scores: npt.NDArray[np.float64]
    lists: tuple[slice, ...] | None
    file_order: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the graph's scores differ from the trainer's.

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
    return Rows(matrix, scores, None if list_column is None else _lists(frame[list_column]), order)


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
        why = explain(content, schema, rows, tolerance, folder) or (
            "Neither another order of columns, nor another output or class, nor the negative explains it: compare what "
            "the trainer did to the features before the model saw them, and whether it was this very model."
        )
        raise ModelRejected(f"The graph scores otherwise than its trainer: {found}. {why}")
    if schema.rows == "independent":
        proof.refuse_difference(model.score, rows.matrix[:MAX_TOGETHER])
    return found


def compare(model: OnnxModel, rows: Rows, tolerance: float = TOLERANCE) -> Comparison:
    """Compare a graph's scores with the trainer's; each may differ by `tolerance`, and that share of it.

    Raises:
        ModelError: the graph cannot score the rows.
    """
    lists = rows.lists if rows.lists is not None and model.schema.rows == "together" else (slice(None),)
    scores = np.concatenate([model.score(rows.matrix[each]) for each in lists])
    return _compared(scores, rows.scores, tolerance)


def explain(
    content: bytes, schema: FeatureSchema, rows: Rows, tolerance: float = TOLERANCE, folder: Path | None = None
) -> str:
    """Say which line of the schema would make a graph score rows as its trainer does; empty where none of those tried.

    Args:
        content: The ONNX file as it was exported.
        schema: What it was imported with.
        rows: The rows that it scores otherwise.
        tolerance: As for `compare`.
        folder: Where the graph's weights lie, where they are in files of their own.
    """
    session = Session(content, folder=folder)
    same_order = ""
    for words, changes in islice(_explanations(session, schema, rows), MAX_EXPLANATIONS):
        changed = schema.model_copy(update=changes)
        try:
            graph = compile_graph(content, changed, folder=folder)
            found = compare(OnnxModel(graph, changed, folder=folder), rows, tolerance)
        except ModelError:
            continue
        if found.agrees:
            line = ", ".join(f"`{key}: {_yaml(value)}`" for key, value in changes.items() if value is not None)
            return f"{words} it scores them alike: say {line} in the schema."
        if not same_order and found.correlation > SAME_ORDER:
            same_order = f"{words} it orders them alike, with other numbers."
    return same_order


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


def _explanations(session: Session, schema: FeatureSchema, rows: Rows) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what may be otherwise, the simple before the compound: in words, and as fields of the schema."""
    orders: list[tuple[str, dict[str, Any]]] = [("", {})]
    if schema.inputs is None and len(session.inputs) == 1:
        orders.append(("in the file's order of columns", {"columns": rows.file_order}))
        orders.append(("in the order of the groups", {"columns": None}))
    outputs: list[tuple[str, dict[str, Any]]] = [("", {})]
    if schema.score is None:
        names = list(_outputs(session))
        outputs += [(f"by {name}", {"output": name}) for name in names]
        outputs += [("negated", {"output": None, "score": f"-{_quoted_term(name)}"}) for name in names]
    else:
        outputs.append(("negated", {"score": f"-({schema.score})"}))
    both = [(order, output) for output in outputs for order in orders if order[1] or output[1]]
    for (in_order, columns), (by_output, chosen) in sorted(both, key=lambda pair: bool(pair[0][1]) + bool(pair[1][1])):
        words = " and ".join(filter(None, (in_order, by_output)))
        yield words[:1].upper() + words[1:], columns | chosen


def _outputs(session: Session) -> Iterator[str]:
    """Yield the outputs of a graph, and each of their first columns."""
    for node in session.outputs:
        if "float" in node.type or "double" in node.type:
            yield node.name
            width = node.shape[-1] if len(node.shape) > 1 else 1 if node.shape else None
            columns = min(width, MAX_CLASSES) if isinstance(width, int) else MAX_CLASSES
            if columns > 1:
                yield from (f"{node.name}[{i}]" for i in range(columns))


def _quoted_term(name: str) -> str:
    output, bracket, column = name.partition("[")
    return (output if output.isidentifier() else f"'{output}'") + bracket + column


def _yaml(value: Any) -> str:
    return f"[{', '.join(map(quoted, value))}]" if isinstance(value, tuple) else quoted(value)


def _lists(column: Any) -> tuple[slice, ...]:
    """Return where rows of one list begin and end; they lie behind one another."""
    values = list(map(str, np.asarray(column).tolist()))
    starts = [i for i, value in enumerate(values) if i == 0 or value != values[i - 1]]
    return tuple(slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(values)], strict=True))
