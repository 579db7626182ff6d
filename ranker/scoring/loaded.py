"""Loaded model: what a stored model scores with, in parts or whole, on the serving path and offline alike.

Owns which graph gives the scores. Knows nothing of where the model is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Self

from ranker.scoring.model import OnnxModel
from ranker.scoring.split.model import SplitModel
from ranker.scoring.split.note import Note
from ranker.scoring.split.parts import Parts
from ranker.vectors.rows import Matrix, Scores
from ranker.vectors.schema import FeatureSchema


class LoadedModel:
    """A stored model, opened. Safe to use from several threads.

    Args:
        schema: What the columns of a matrix are.
        open_whole: Opens the whole graph: at once where there are no parts, else when it is asked for.
        split: The graph in parts; None where it stays whole.
        note: What the import found of its split.

    Attributes:
        schema, split, note: As given.
        width: F, the number of columns of a matrix.
    """

    def __init__(
        self, schema: FeatureSchema, open_whole: Callable[[], OnnxModel], split: SplitModel | None, note: Note
    ) -> None:
        self.schema = schema
        self.width = schema.width
        self.split = split
        self.note = note
        self._open_whole = open_whole
        self._lock = Lock()
        self._whole = None if split is not None else open_whole()

    @classmethod
    def open(cls, graph: Path, schema: FeatureSchema, parts: Parts | None, note: Note, threads: int = 1) -> Self:
        """Open a model for scoring.

        Args:
            graph: The file of the whole graph; its weights lie beside it.
            schema: What the columns are.
            parts: Of the graph; None where it stays whole.
            note: What the import found.
            threads: How many threads ONNX Runtime may use within one call.

        Raises:
            ModelRejected: what would score does not load, or does not fit the schema.
        """
        split = None if parts is None else SplitModel(parts, schema, threads=threads)
        return cls(schema, partial(OnnxModel, graph, schema, threads=threads, folder=graph.parent), split, note)

    @property
    def whole(self) -> OnnxModel:
        """The whole graph, which says what the model was made from; where there are parts, it is not what serves.

        Raises:
            ModelRejected: it is missing or damaged, or does not fit the schema.
        """
        with self._lock:
            if self._whole is None:
                self._whole = self._open_whole()
            return self._whole

    @property
    def served_as(self) -> str:
        """How it scores: `whole` or `in parts`."""
        return "whole" if self.split is None else "in parts"

    @property
    def cached_product_width(self) -> int:
        """Columns of a product's row in the near cache: its features, and what is prepared of it."""
        width = self.schema.product.width
        return width if self.split is None else width + width % 2 + self.split.prepared_width

    def outputs(self, matrix: Matrix) -> dict[str, Scores]:
        """Return what the single outputs of the whole graph give for the rows of a matrix (n, F), as `OnnxModel` does.

        Raises:
            ModelRejected: the whole graph is missing or damaged.
            ModelFailed: ONNX Runtime raised.
        """
        return self.whole.outputs(matrix)

    def score(self, matrix: Matrix) -> Scores:
        """Score the rows of a matrix (n, F), float32, as the service does; return shape (n,), float32.

        Raises:
            WrongShape: another width, number of axes or dtype.
            ModelFailed: ONNX Runtime raised, such as for a category that an embedding does not know.
        """
        return self.whole.score(matrix) if self.split is None else self.split.score(matrix)
