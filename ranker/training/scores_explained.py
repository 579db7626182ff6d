"""Explanations of other scores: what the schema may say amiss, tried until a graph scores as its trainer does.

Owns what is tried, and the line that mends it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ranker.errors import ModelError
from ranker.importing.compile import compile_graph
from ranker.scoring.graph.inputs import quoted
from ranker.scoring.model import OnnxModel
from ranker.scoring.session import Session
from ranker.training.scored_rows import TOLERANCE, Comparison, Rows, compare
from ranker.vectors.schema import FeatureSchema

MAX_EXPLANATIONS = 60
MAX_CLASSES = 8
SAME_ORDER = 0.9999
OTHER_NUMBERS = (
    "It orders the rows alike, with other numbers: compare with what the model itself gives, before or after a sigmoid "
    "as the graph does, or write as the schema's `score:` what makes one of the other."
)


def explain(
    content: bytes,
    schema: FeatureSchema,
    rows: Rows,
    found: Comparison,
    tolerance: float = TOLERANCE,
    folder: Path | None = None,
) -> str:
    """Say which line of the schema would make a graph score rows as its trainer does; empty where none of those tried.

    Args:
        content: The ONNX file as it was exported.
        schema: What it was imported with.
        rows: The rows that it scores otherwise.
        found: How.
        tolerance: As for `compare`.
        folder: Where the graph's weights lie, where they are in files of their own.
    """
    session = Session(content, folder=folder)
    same_order = OTHER_NUMBERS if found.correlation > SAME_ORDER else ""
    for words, changes in islice(_explanations(session, schema, rows), MAX_EXPLANATIONS):
        changed = schema.model_copy(update=changes)
        try:
            graph = compile_graph(content, changed, folder=folder)
            other = compare(OnnxModel(graph, changed, folder=folder), rows, tolerance)
        except ModelError:
            continue
        if other.agrees:
            return f"{words} it scores them alike: {_line(schema, changes)}."
        if not same_order and other.correlation > SAME_ORDER:
            same_order = f"{words} it orders them alike, with other numbers."
    return same_order


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


def _line(schema: FeatureSchema, changes: dict[str, Any]) -> str:
    """Say what to write in the schema, and what to leave out of it."""
    says = ", ".join(f"`{key}: {_yaml(value)}`" for key, value in changes.items() if value is not None)
    leaves = [key for key, value in changes.items() if value is None and getattr(schema, key) is not None]
    out = " and ".join(f"leave `{key}:` out" for key in leaves)
    return " and ".join(filter(None, (says and f"say {says} in the schema", out)))


def _yaml(value: Any) -> str:
    return f"[{', '.join(map(quoted, value))}]" if isinstance(value, tuple) else quoted(value)
