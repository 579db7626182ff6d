"""Import from Python: a graph and its schema, checked, proved and stored as `ranker model import` does.

Owns the arguments and the warnings; the steps are `candidate`'s.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ranker.importing.weights import GraphFiles, read_files
from ranker.ingest.frames import names_in
from ranker.ingest.schema_source import find_schema
from ranker.scoring.graph import proof
from ranker.training.candidate import Candidate
from ranker.training.model import Model
from ranker.training.scored_rows import TOLERANCE, take_rows
from ranker.vectors.schema import FeatureSchema


class OnnxProto(Protocol):
    """An ONNX model in memory, as exporters return it."""

    def SerializeToString(self) -> bytes:
        """Return the file's bytes."""


def import_model(
    onnx: bytes | str | Path | OnnxProto,
    schema: FeatureSchema | Mapping[str, Any] | str | Path,
    *,
    name: str,
    version: str | None = None,
    check: Any = None,
    score_column: str | None = None,
    list_column: str | None = None,
    tolerance: float = TOLERANCE,
    allow_rounding: bool = False,
    split: bool = True,
) -> Model:
    """Check that a graph fits a schema, run it, and store both under one tag, as `ranker model import` does.

    Give rows with the trainer's own scores: only these tell another order of columns, another class or another output.
    What looks wrong and may be right, such as one score for nearly all rows, or that nothing was compared, is a
    `UserWarning`.

    Args:
        onnx: The graph: a file, its bytes, or what an exporter returns.
        schema: A schema, what a YAML file of one holds, such a file, or the tag of a model whose schema it is, too.
        name: Its name in the store.
        version: Its version; by default made from the content, so that equal content has one tag.
        check: A frame as for `Model.score`, with the trainer's scores beside the features.
        score_column: The column of these.
        list_column: As for `Model.score`.
        tolerance: How far a score may be from the trainer's, absolutely and again as a share of it.
        allow_rounding: As for `Model.score`.
        split: Whether the graph is served in parts, where that gains and scores the same.

    Raises:
        ModelRejected: the graph cannot serve as a ranking model, or scores otherwise than its trainer; then nothing is
            stored, and the message says what would explain it, where something does.
        FeatureError: the rows lack features, or have what could not be stored.
        InvalidSchema: the schema cannot be read.
        ModelNotStored: the tag is invalid or holds another model.
    """
    if (check is None) != (score_column is None):
        raise TypeError("check and score_column go together: the rows, and which column is their score")
    read = FeatureSchema.from_mapping(schema) if isinstance(schema, Mapping) else find_schema(schema)
    candidate = Candidate(_files_of(onnx), read)
    doubts: list[str] = []
    if check is not None and score_column is not None:
        frame = {column: check[column] for column in names_in(check)}
        rows = take_rows(read, frame, score_column, list_column, allow_rounding=allow_rounding)
        candidate.compare(rows, "of check=", tolerance)
    else:
        doubts.append("Nothing was compared with the trainer's own scores: give check= and score_column=.")
    tag, _ = candidate.store(name, version, split=split)
    model = Model.load(tag)
    for doubt in (*doubts, *proof.doubts(model._loaded.score, read)):
        warnings.warn(doubt, UserWarning, stacklevel=2)
    return model


def _files_of(onnx: bytes | str | Path | OnnxProto) -> GraphFiles:
    if isinstance(onnx, bytes):
        return GraphFiles(onnx)
    return read_files(Path(onnx)) if isinstance(onnx, str | Path) else GraphFiles(onnx.SerializeToString())
