"""Output of an ONNX graph that holds the scores, found among those that it declares and by what they give.

Owns the rules for outputs, and which column of class probabilities is the score. Where there is a choice, none is made:
the refusal names the line of the schema that makes it. Knows nothing of running a graph: it is shown what 1, 2 and 3
rows gave, since converters declare shapes too loosely to be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.errors import ModelRejected
from ranker.scoring.graph.classes import CLICKED_SECOND, Classes, wanted_column
from ranker.scoring.graph.inputs import DTYPES, listed, quoted
from ranker.scoring.graph.output_choice import Choice
from ranker.scoring.session import Declared

Arrays = Sequence[npt.NDArray[Any]]
"""Values that an output gave for 1, 2 and 3 rows."""


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """The output of the graph that holds the scores.

    Attributes:
        name: Its name in the graph.
        dtype: float32 or float64.
        shape: With n for the rows, such as `(n,)`, `(n, 1)`, `(1, n)`, or `(n, C)` with C in figures.
        column: Of (n, C), the one that is the score; None for a single one.
        columns: C.
        classes: The classes that the graph names for the columns; empty when it names none.
    """

    name: str
    dtype: np.dtype[Any]
    shape: str
    column: int | None = None
    classes: tuple[str, ...] = ()
    columns: int = 1

    def take(self, raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the scores, (n,), of what the output gave; a view."""
        return raw.reshape(-1) if self.column is None else raw.reshape(-1, self.columns)[:, self.column]

    def __str__(self) -> str:
        text = f"{self.name} {self.shape} {self.dtype}"
        return text if self.column is None else f"{text}, {self.column_named}"

    @property
    def column_named(self) -> str:
        """The column that is the score, with its class where the graph names it; for outputs that have columns."""
        if self.column is None or not self.classes:
            return f"column {self.column}"
        return f"column {self.column} (class {self.classes[self.column]} of {', '.join(self.classes)})"


def score_candidates(declared: Sequence[Declared], choice: Choice | None) -> tuple[str, ...]:
    """Return the names of the outputs that may hold scores: the one that the schema names, or all float ones.

    Raises:
        ModelRejected: there is none, saying how to export one.
    """
    if choice is not None:
        chosen = [node for node in declared if node.name == choice.output]
        if not chosen:
            names = listed([node.name for node in declared])
            raise ModelRejected(f"The schema says `output: {choice.output}`; the graph has the outputs {names}.")
        declared = chosen
    floats = tuple(node.name for node in declared if node.type in DTYPES)
    if floats:
        return floats
    kinds = ", ".join(f"{node.name}: {node.type}" for node in declared)
    raise ModelRejected(
        f"The graph gives no score ({kinds}); class labels do not rank. Export the probabilities "
        "too (a classifier with predict_proba), or train a regressor or a ranker."
    )


def find_output(
    given: Mapping[str, Arrays], choice: Choice | None, classes: Mapping[str, Classes | None]
) -> ModelOutput:
    """Find the output that is the score.

    Args:
        given: The candidates, and what each gave for 1, 2 and 3 rows.
        choice: What the schema says of it.
        classes: The classes that each candidate's columns stand for, where the graph tells them; None where its labels
            do not go together with them. Of one score a row, the class of low ones and that of high ones.

    Raises:
        ModelRejected: none gives one score per row, or several do.
    """
    if choice is not None and choice.column is not None:
        return _chosen_column(choice, given[choice.output], classes.get(choice.output) or ())
    known = {name: named or () for name, named in classes.items()}
    found = [output for name, arrays in given.items() if (output := _as_output(name, arrays, known.get(name, ())))]
    if len(found) > 1:
        names = [output.name for output in found]
        raise ModelRejected(
            f"The outputs {listed(names)} could each be the score. Say in the schema which one is: "
            f"{' or '.join(f'`output: {quoted(name)}`' for name in names[:5])}."
        )
    if not found:
        raise ModelRejected(_no_score_per_row(given, known, choice))
    (output,) = found
    if output.columns == 1 and choice is None:
        _refuse_other_end(output.name, known.get(output.name, ()))
    if output.columns == 2 and classes.get(output.name, ()) is None:
        says = choice or Choice(output.name)
        raise ModelRejected(
            f"The labels that the graph gives do not go together with the two columns of {output.name}, so it is not "
            "plain which of them ranks first. Say its number in the schema, from 0 in the order of the trainer's "
            f"classes: {says.line(output.name, 0)} or {says.line(output.name, 1)}."
        )
    if output.classes and tuple(name.lower() for name in output.classes) not in CLICKED_SECOND:
        says = choice or Choice(output.name)
        lines = " or ".join(says.line(output.name, i, name) for i, name in enumerate(output.classes))
        raise ModelRejected(
            f"The two columns of {output.name} are the classes {' and '.join(output.classes)}, and it is not plain "
            f"which of them ranks first. Say it in the schema: {lines}."
        )
    return output


def single_outputs(given: Mapping[str, Arrays]) -> list[ModelOutput]:
    """Return the outputs that give one value per row, among those of which this is what 1, 2 and 3 rows gave."""
    return [output for name, arrays in given.items() if (output := _as_output(name, arrays, ()))]


def _refuse_other_end(name: str, ends: Classes) -> None:
    """Refuse a score that is high for one of two classes, where it is not plain that this one ranks first."""
    if ends and tuple(end.lower() for end in ends) not in CLICKED_SECOND:
        low, high = ends
        raise ModelRejected(
            f"{name} is high for rows of class {high} and low for those of {low}, and it is not plain which of them "
            f"ranks first. Say it in the schema: {Choice(name).line(name)} for {high}, or `score: "
            f'"0 - {name if name.isidentifier() else repr(name)}"` for {low}.'
        )


def _as_output(name: str, arrays: Arrays, classes: tuple[str, ...]) -> ModelOutput | None:
    """Describe an output by what it gave for 1, 2, 3 rows; None when that is not one score per row."""
    shape, columns = _rows_and_columns(arrays)
    if columns == 1:
        return ModelOutput(name, arrays[0].dtype, shape)
    if columns == 2 and all(_are_probabilities(array.reshape(-1, 2)) for array in arrays):
        return ModelOutput(name, arrays[0].dtype, shape, 1, classes if len(classes) == 2 else (), 2)
    return None


def _rows_and_columns(arrays: Arrays) -> tuple[str, int]:
    """Return the shape of what 1, 2, 3 rows gave, and its number of columns; 0 where it has not one value per row.

    All rows lie behind one another, whatever axes of length 1 there are: (n,), (n, 1), (1, n), (n, C), (1, n, C).
    """
    last = arrays[-1].shape
    varying = [i for i, axis in enumerate(last) if axis != 1 and axis == len(arrays)]
    at = varying[0] if varying else 0
    shape = f"({', '.join('n' if i == at else str(axis) for i, axis in enumerate(last))}{',' * (len(last) == 1)})"
    columns = arrays[0].size
    for n, array in enumerate(arrays, start=1):
        if array.size != n * columns or (columns > 1 and array.shape[-1] != columns):
            return shape, 0
    return shape, columns


def _chosen_column(choice: Choice, arrays: Arrays, classes: tuple[str, ...]) -> ModelOutput:
    shape, width = _rows_and_columns(arrays)
    if width == 0 or len(arrays[-1].shape) < 2:
        raise ModelRejected(
            f"{choice.statement}, and {choice.output} has no columns to choose from: {_shapes(arrays)}. Write "
            f"{choice.line(choice.output)}."
        )
    classes = classes if len(classes) == width else ()
    text = choice.column or ""
    if text in classes:
        column = classes.index(text)
    elif text.isascii() and text.isdigit() and int(text) < width:
        column = int(text)
    else:
        known = f"the classes {', '.join(classes)}, and " if classes else ""
        raise ModelRejected(f"{choice.statement}; it has {known}the columns 0 to {width - 1}.")
    return ModelOutput(choice.output, arrays[0].dtype, shape, column, classes, width)


def _are_probabilities(values: npt.NDArray[Any]) -> bool:
    known = values[~np.isnan(values).any(axis=1)]
    return bool((known >= 0).all() and np.allclose(known.sum(axis=1), 1, atol=1e-3))


def _no_score_per_row(
    given: Mapping[str, Arrays], classes: Mapping[str, tuple[str, ...]], choice: Choice | None
) -> str:
    gave = "; ".join(f"{name} {_shapes(arrays)}" for name, arrays in given.items())
    remedies = [
        _remedy(choice or Choice(name), name, [array.shape for array in arrays], classes.get(name, ()))
        for name, arrays in given.items()
    ]
    remedy = next(filter(None, remedies), None) or (
        "Export a graph whose output keeps the rows as its first axis: (n,), (n, 1) or class probabilities (n, 2)"
    )
    return f"The graph does not give one score per row; 1, 2 and 3 rows gave {gave}. {remedy}."


def _remedy(says: Choice, name: str, shapes: list[tuple[int, ...]], classes: tuple[str, ...]) -> str | None:
    one, two, three = shapes
    if len(three) != 2 or three[1] < 2 or (one[1:], two[1:]) != (three[1:], three[1:]):
        return None
    known = classes if len(classes) == three[1] else ()
    column = wanted_column(known) if known else three[1] - 1
    line = says.line(name, column, known[column] if known else None)
    if three[1] > 2:
        of = f"{len(known)} classes, {', '.join(known[:5])}" if known else f"{three[1]} columns"
        return f"It has {of}: say in the schema which of them ranks, such as {line}"
    return (
        "Its two columns are no class probabilities, which are positive and sum to 1: if one of them is the score, say "
        f"so in the schema, such as {line}; of two logits, export the probabilities (softmax in PyTorch)"
    )


def _shapes(arrays: Arrays) -> str:
    return ", ".join(str(array.shape) for array in arrays)
