"""ONNX model: matrix → scores with ONNX Runtime, for a graph checked against the schema it was imported with.

Owns the promise of one score per row, whatever rows come with it. Knows nothing of where the graph is kept or who asks
for scores.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.errors import ModelRejected, WrongShape
from ranker.scoring.graph import proof
from ranker.scoring.graph.compiled import read_note
from ranker.scoring.graph.inputs import DTYPES, ModelInput, asks_for_nodes, match_inputs, one_matrix
from ranker.scoring.graph.mixing import why_rows_mix
from ranker.scoring.graph.onnx_file import Node, read_nodes, small_integers
from ranker.scoring.graph.output import ModelOutput
from ranker.scoring.graph.output_choice import Choice, read_choice
from ranker.scoring.graph.output_trial import OutputTrial
from ranker.scoring.graph.tables import with_bounds
from ranker.scoring.session import Session
from ranker.scoring.shapes import as_float32, refuse_other_shape
from ranker.vectors.rows import Matrix, Scores
from ranker.vectors.schema import FeatureSchema


class OnnxModel:
    """A ranking model: rows of the schema's features in, one score per row out. Safe to use from several threads.

    Args:
        path_or_bytes: The ONNX file or its content.
        schema: What the columns of a matrix are, and where the graph leaves a choice, which input and output are which.
        threads: How many threads ONNX Runtime may use within one call.
        limit_s: Seconds that the trial of the graph may take, for one may never end; None for one that was proved.
        folder: Where the graph's weights lie, where they are in files of their own.

    Attributes:
        schema: As given.
        width: F, the number of columns of a matrix.
        inputs: The graph's inputs and the columns they take.
        output: The graph's output that holds the scores.
        compiled: What the import has made of the graph; None for one that is as it was exported.

    Raises:
        ModelRejected: the graph does not load, does not fit the schema, or does not give one score per row.
    """

    def __init__(
        self,
        path_or_bytes: str | os.PathLike[str] | bytes,
        schema: FeatureSchema,
        *,
        threads: int = 1,
        limit_s: float | None = None,
        folder: Path | None = None,
    ) -> None:
        self.schema = schema
        self.width = schema.width
        self._session = Session(path_or_bytes, threads, folder)
        self.compiled = read_note(self._session.metadata)
        self.inputs: tuple[ModelInput, ...] = self._match_inputs()
        self._nodes, self._why_rows_mix = _read(path_or_bytes)
        with self.limited(limit_s):
            self.output = self._find_output()
            if schema.rows == "independent":
                proof.refuse_difference(self.score, proof.near_rows(schema), self._why_rows_mix)

    def score(self, matrix: Matrix) -> Scores:
        """Score the rows of a matrix.

        Args:
            matrix: Shape (n, F), float32; C-contiguous, or it is copied.

        Returns:
            Shape (n,), float32. NaN where the graph gives NaN.

        Raises:
            WrongShape: another width, number of axes or dtype, or a graph that gives not one score per row.
            ModelFailed: ONNX Runtime raised, such as for a category that an embedding does not know.
        """
        refuse_other_shape(matrix, self.width)
        n = len(matrix)
        if n == 0:
            return np.empty(0, dtype=np.float32)
        (raw,) = self._run(matrix, (self.output.name,))
        scores = self.output.take(raw)
        if len(scores) != n:
            raise WrongShape(f"The output {self.output.name}", raw.shape, f"one score for each of {n} rows")
        return as_float32(scores)

    def outputs(self, matrix: Matrix) -> dict[str, Scores]:
        """Return what the graph's single outputs give for the rows of a matrix (n, F), float32.

        Returns:
            Those that the formula joins, as it calls them, else all that give one value per row; shape (n,), float32,
            each. Empty where the score is the only one, and no formula's.

        Raises:
            ModelFailed: ONNX Runtime raised.
        """
        singles = self._singles
        given = self._run(matrix, [name for name, _ in singles.values()]) if singles else []
        with np.errstate(over="ignore"):  # as in scores
            return {
                called: raw.reshape(len(matrix), -1)[:, column].astype(np.float32)
                for (called, (_, column)), raw in zip(singles.items(), given, strict=True)
            }

    @cached_property
    def _singles(self) -> dict[str, tuple[str, int]]:
        """The single outputs: what each is called → its name and column."""
        made = self.compiled
        if made is not None and made.scores is not None:
            return made.joined([node.name for node in self._session.outputs])
        found = OutputTrial(self._session, self.inputs, self.schema, self._nodes, made).find_singles()
        singles = {one.name: (one.name, one.column or 0) for one in (*found, self.output)}
        return singles if len(singles) > 1 else {}

    @property
    def other_outputs(self) -> tuple[str, ...]:
        """The names of the other outputs that are numbers of float or double; empty where a formula joins outputs."""
        if self.schema.score is not None:
            return ()
        floats = [node.name for node in self._session.outputs if node.type in DTYPES]
        return tuple(name for name in floats if name != self.output.name)

    def refuse_batch_effects(self, limit_s: float | None = None) -> None:
        """Score rows near the defaults and far from them in several companies; more than each start has time for.

        Raises:
            ModelRejected: a row's score depends on the rows scored with it, or the trial takes longer than `limit_s`.
        """
        if self.schema.rows == "together":
            return
        with self.limited(limit_s):
            proof.refuse_batch_effects(self.score, self.schema, self._why_rows_mix)

    def find_bounds(self, limit_s: float | None = None) -> FeatureSchema:
        """Return the schema with the bounds of the ids that the graph looks up in tables; asks for ids beyond.

        Raises:
            ModelRejected: it takes longer than `limit_s`.
        """
        with self.limited(limit_s):
            return with_bounds(self.schema, self.score)

    def limited(self, seconds: float | None) -> AbstractContextManager[None]:
        """End what the graph computes in the block after so many seconds; for trials, in one thread."""
        return self._session.limited(seconds)

    def _match_inputs(self) -> tuple[ModelInput, ...]:
        if self.compiled is not None:
            return one_matrix(self._session.inputs[0], self.schema)
        if asks_for_nodes(self.schema):
            raise ModelRejected(
                "The schema asks for what the graph cannot do as it was exported. Import both with `ranker model "
                "import`, which builds it in."
            )
        return match_inputs(self._session.inputs, self.schema)

    def _find_output(self) -> ModelOutput:
        made = self.compiled
        trial = OutputTrial(self._session, self.inputs, self.schema, self._nodes, made)
        if made is not None and made.scores is not None:
            return trial.find(Choice(made.scores))
        return trial.find(read_choice(self.schema.output, self._session.outputs))

    def _run(self, matrix: Matrix, outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
        return self._session.run(outputs, {node.name: node.take(matrix) for node in self.inputs}, len(matrix))


def _read(path_or_bytes: str | os.PathLike[str] | bytes) -> tuple[list[Node], str]:
    """Return the operators of a graph, and which of them would be to blame if rows mixed."""
    if isinstance(path_or_bytes, bytes):
        nodes = read_nodes(path_or_bytes)
        return nodes, why_rows_mix(nodes, small_integers(path_or_bytes))
    with (
        open(path_or_bytes, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        nodes = read_nodes(view)
        return nodes, why_rows_mix(nodes, small_integers(view))
