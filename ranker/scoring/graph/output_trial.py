"""Output trial: 1, 2 and 3 rows are scored, for what a graph declares of its outputs is too loose to be trusted.

Owns the runs, and what they tell. Which output is the score, `output` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.errors import ModelFailed, ModelRejected
from ranker.scoring.graph import exporters, proof
from ranker.scoring.graph.classes import Classes, order_classes, settle_classes
from ranker.scoring.graph.compiled import Compiled
from ranker.scoring.graph.inputs import ModelInput
from ranker.scoring.graph.onnx_file import Node, classes_of
from ranker.scoring.graph.output import (
    Arrays,
    ModelOutput,
    find_output,
    score_candidates,
    single_outputs,
)
from ranker.scoring.graph.output_choice import Choice
from ranker.scoring.graph.tables import find_defaults
from ranker.scoring.session import Session
from ranker.vectors.rows import Matrix, Scores
from ranker.vectors.schema import FeatureSchema

_LABELS = ("tensor(int64)", "tensor(string)", "tensor(bool)")


class OutputTrial:
    """Runs a graph to see what its outputs are.

    Args:
        session: The graph.
        inputs: What its inputs take of a matrix.
        schema: What the columns of the matrix are.
        nodes: The operators of the graph.
        made: What the import has made of the graph; None for one that is as it was exported.
    """

    def __init__(
        self,
        session: Session,
        inputs: Sequence[ModelInput],
        schema: FeatureSchema,
        nodes: list[Node],
        made: Compiled | None,
    ) -> None:
        self._session = session
        self._inputs = inputs
        self._schema = schema
        self._nodes = nodes
        self._known: Mapping[str, tuple[str, ...]] = {} if made is None else made.classes
        self._exported = [node.name for node in (inputs if made is None else made.inputs)]
        self._labels = [node.name for node in session.outputs if node.type in _LABELS]

    def find(self, choice: Choice | None) -> ModelOutput:
        """Find the output that gives one score per row.

        Raises:
            ModelRejected: there is none, several could be it, or the graph does not run.
        """
        given = self._give(score_candidates(self._session.outputs, choice))
        return find_output(given, choice, {name: self._classes(name, arrays) for name, arrays in given.items()})

    def find_singles(self) -> list[ModelOutput]:
        """Find all outputs that give one value per row.

        Raises:
            ModelRejected: the graph does not run.
        """
        return single_outputs(self._give(score_candidates(self._session.outputs, None)))

    def _give(self, candidates: Sequence[str]) -> dict[str, Arrays]:
        """Return what outputs give for 1, 2 and 3 rows."""
        rows = proof.near_rows(self._schema)
        runs: list[list[npt.NDArray[Any]]] = []
        for n in range(1, len(rows) + 1):
            try:
                runs.append(self._run(rows[:n], candidates))
            except ModelFailed as err:
                raise ModelRejected(self._cannot_run(n, err.reason)) from err
        return dict(zip(candidates, zip(*runs, strict=True), strict=True))

    def _run(self, matrix: Matrix, outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
        return self._session.run(outputs, {node.name: node.take(matrix) for node in self._inputs}, len(matrix))

    def _classes(self, output: str, arrays: Arrays) -> Classes | None:
        """Return the classes of an output's columns, as names and labels show them; of one score, from low to high."""
        named = self._known.get(output) or classes_of(self._nodes, output)
        is_single = arrays[0].size == 1
        if len(self._labels) != 1:
            return () if is_single else named
        names = (output, self._labels[0])

        def score(row: Matrix) -> Scores:  # only whether it can
            self._run(row, names)
            return np.zeros(len(row), dtype=np.float32)

        try:
            columns, labels = self._run(proof.spread_rows(score, self._schema), names)
        except ModelFailed as err:
            raise ModelRejected(f"Rows that it scores one by one, it cannot score together. {err}") from err
        return order_classes(columns, labels) if is_single else settle_classes(named, columns, labels)

    def _cannot_run(self, rows: int, reason: str) -> str:
        if rows > 1:
            remedy = exporters.dynamic_rows(self._session.producer, self._exported)
        elif "out of data bounds" in reason or "idx=" in reason:
            remedy = (
                "An id is looked up in a table that does not hold it. Give that feature a default that the table holds"
                + self._known_ids()
            )
        else:
            remedy = "Check that the schema lists the columns it was trained on"
        return f"The graph cannot score {rows} rows of defaults: {reason}. {remedy}."

    def _known_ids(self) -> str:
        names = [node.name for node in self._session.outputs[:1]]

        def score(row: Matrix) -> Scores:
            self._run(row, names)
            return np.zeros(len(row), dtype=np.float32)

        found = find_defaults(self._schema, score)
        return f", such as {' or '.join(found)}" if found else ""
