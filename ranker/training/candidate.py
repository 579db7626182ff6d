"""Import candidate: a graph on its way into the model store, compiled, compared with its trainer's scores, and split.

Owns the steps and what each hands to the next, the same for `ranker model import` and `import_model`. Knows neither
options nor where rows come from.
"""

from __future__ import annotations

from ranker.importing.compile import compile_graph
from ranker.importing.splitting.proving.choice import ASKED_FOR, choose_split
from ranker.importing.splitting.proving.probes import Block
from ranker.importing.weights import GraphFiles
from ranker.scoring.model import OnnxModel
from ranker.scoring.registry import TRIAL_LIMIT_S, store_model
from ranker.training.scored_rows import TOLERANCE, Comparison, Rows
from ranker.training.scores_check import refuse_other_scores
from ranker.vectors.rows import Matrix
from ranker.vectors.schema import FeatureSchema


class Candidate:
    """A compiled graph that is not stored yet.

    Args:
        files: The graph as it was exported.
        schema: What its columns are.
        limit_s: Seconds that each trial of the graph may take.

    Raises:
        ModelRejected: no graph can be made of it that scores what the schema describes.
        ImportPackageMissing: it must be changed, and the package onnx is not installed.
    """

    def __init__(self, files: GraphFiles, schema: FeatureSchema, *, limit_s: float = TRIAL_LIMIT_S) -> None:
        self._files = files
        self._schema = schema
        self._limit_s = limit_s
        self._graph = compile_graph(files.content, schema, limit_s=limit_s, folder=files.folder)
        self._given: list[Block] = []

    def compare(self, rows: Rows, kind: str, tolerance: float = TOLERANCE) -> Comparison:
        """Compare the graph's scores with the trainer's, and have its parts proved on the same rows.

        Args:
            rows: The rows.
            kind: What they are, in words, such as "of --check".
            tolerance: How far a score may be off, absolutely and again as a share of it.

        Raises:
            ModelRejected: they are scored otherwise, with what would explain it, where something does.
        """
        files = self._files
        found = refuse_other_scores(files.content, self._graph, self._schema, rows, tolerance, files.folder)
        self.prove_on(rows.matrix, kind)
        return found

    def prove_on(self, matrix: Matrix, kind: str) -> None:
        """Have the parts of the graph proved on rows that it will meet, shape (n, F), beside those that are made up."""
        self._given.append(Block(kind, matrix))

    def open(self) -> OnnxModel:
        """Open the graph, to score rows before it is stored."""
        return OnnxModel(self._graph, self._schema, folder=self._files.folder)

    def store(self, name: str, version: str | None = None, *, split: bool = True) -> tuple[str, bool]:
        """Choose between its parts and the whole, and store it.

        Args:
            name: Its name in the store.
            version: Its version; by default made from the content.
            split: Whether parts may serve, where that gains and scores the same.

        Returns:
            The tag, and whether it was created now.

        Raises:
            ModelRejected: it cannot serve as a ranking model.
            ModelNotStored: the tag is invalid or holds another model, or the store cannot be written.
        """
        files, limit_s = self._files, self._limit_s
        choice = ASKED_FOR
        if split:
            choice = choose_split(self._graph, self._schema, self._given, limit_s=limit_s, folder=files.folder)
        return store_model(self._graph, self._schema, name, version, limit_s=limit_s, weights=files.paths, split=choice)
