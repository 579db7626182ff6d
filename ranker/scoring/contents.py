"""Contents of a stored model: the graph, its weights, the schema and the split of the graph.

Owns what makes two models the same, and the version that follows from it. Knows nothing of the model store.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ranker.errors import ModelNotStored
from ranker.scoring.split import files
from ranker.scoring.split.files import SplitChoice
from ranker.vectors.schema import FeatureSchema

MODEL_FILE = "model.onnx"
FORMAT = 1
RESERVED = (MODEL_FILE, "model.yaml", files.FOLDER)
"""Names that the weights may not have."""


@dataclass(frozen=True)
class Contents:
    """Contents of one tag: all that is stored under it.

    Attributes:
        graph: The ONNX file.
        schema: What its columns are.
        weights: Files that the graph has weights in.
        split: What was decided of its split; None where nothing was.
    """

    graph: bytes
    schema: FeatureSchema
    weights: tuple[Path, ...] = ()
    split: SplitChoice | None = None

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What the store keeps beside the files."""
        metadata: dict[str, Any] = {
            "format": FORMAT,
            "schema": self.schema.to_metadata(),
            "fingerprint": f"{self.schema.fingerprint:08x}",
        }
        if self.weights:
            metadata["weights"] = {path.name: _digest(path) for path in self.weights}
        if self._packed is not None:
            metadata["split"] = self._packed.description.to_metadata()
        return metadata

    @property
    def version(self) -> str:
        """Twelve hexadecimal digits that are equal where the contents are: what is served, bit for bit."""
        digest = hashlib.sha256(self.graph + _canonical(self.metadata["schema"]))
        for part in ("weights", "split"):
            if part in self.metadata:
                digest.update(_canonical(self.metadata[part]))
        return digest.hexdigest()[:12]

    def equal(self, folder: Path, metadata: Any) -> bool:
        """Whether a stored model is this one.

        Raises:
            OSError: its graph cannot be read.
        """
        # As text, for a NaN default is unequal to itself.
        same_metadata = _canonical(metadata) == _canonical(self.metadata)
        return (folder / MODEL_FILE).read_bytes() == self.graph and same_metadata

    def write(self, folder: Path) -> None:
        """Write the files."""
        (folder / MODEL_FILE).write_bytes(self.graph)
        for path in self.weights:
            shutil.copyfile(path, folder / path.name)
        if self.split is not None:
            files.write(folder, self._packed, self.split.note)

    @cached_property
    def _packed(self) -> files.Packed | None:
        return None if self.split is None else files.pack(self.split)


def refuse_taken_names(name: str, weights: Sequence[Path]) -> None:
    """Refuse a model's weights in a file that a stored model has another one for.

    Raises:
        ModelNotStored: naming it.
    """
    if taken := [path.name for path in weights if path.name in RESERVED]:
        reason = f"its weights lie in {taken[0]}, which the store has another file for. Rename them."
        raise ModelNotStored(name, reason)


def size_of_files(folder: Path, metadata: Mapping[str, Any]) -> int:
    """Return the bytes of a stored graph, with its weights and its parts."""
    names = [MODEL_FILE, *metadata.get("weights", {})]
    names += [f"{files.FOLDER}/{name}" for name in metadata.get("split", {}).get("files", {})]
    return sum((folder / name).stat().st_size for name in names)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
