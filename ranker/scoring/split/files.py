"""Split on disk: the folder `split` beside a stored graph, with its parts and the note on them.

Owns the names of the files, and that what is read is what was written: the model's metadata has their digests. Knows
nothing of the model store.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ranker.errors import ModelRejected
from ranker.scoring.split.ensemble import Ensemble
from ranker.scoring.split.note import MAX_BYTES, NOT_TRIED, Note
from ranker.scoring.split.parts import Parts
from ranker.vectors.bounded_file import read_bounded

FOLDER = "split"
NOTE_FILE, TREES_FILE = "split.json", "trees.npz"
GRAPH_FILES = {"request": "request.onnx", "product": "product.onnx", "pair": "pair.onnx"}
FORMAT = 1
MAX_PART_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class SplitChoice:
    """What an import has decided, and why.

    Attributes:
        note: What it found.
        parts: None where the graph stays whole.
    """

    note: Note
    parts: Parts | None = None


class Description(BaseModel):
    """What a model's metadata says of its parts.

    Attributes:
        format: Of the files.
        files: SHA-256 of each, by name.
        pair_needs_product: As `Parts` has it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int
    files: dict[str, str]
    pair_needs_product: tuple[int, ...]

    @classmethod
    def read(cls, metadata: Any) -> Description:
        """Read what metadata says.

        Raises:
            ModelRejected: it is of another version, or damaged.
        """
        found = metadata.get("format") if isinstance(metadata, Mapping) else None
        if found != FORMAT:
            raise ModelRejected(f"The split of its graph has format {found!r}; this version reads {FORMAT}.")
        try:
            return cls.model_validate(metadata)
        except ValidationError as err:
            raise ModelRejected(
                f"Its metadata on the split of its graph is damaged: {err.errors()[0]['msg']}."
            ) from err

    def to_metadata(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


@dataclass(frozen=True, slots=True)
class Packed:
    """Parts as they are stored.

    Attributes:
        files: Content by name.
        description: What the metadata says of them.
    """

    files: Mapping[str, bytes]
    description: Description


def pack(choice: SplitChoice) -> Packed | None:
    """Return the files of the parts; None where the graph stays whole."""
    if choice.parts is None:
        return None
    parts = choice.parts
    graphs = {file: getattr(parts, name) for name, file in GRAPH_FILES.items()}
    files: dict[str, bytes] = {file: content for file, content in graphs.items() if content is not None}
    if parts.trees is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / TREES_FILE
            parts.trees.save(path)
            files[TREES_FILE] = path.read_bytes()
    description = Description(
        format=FORMAT,
        files={name: _digest(content) for name, content in sorted(files.items())},
        pair_needs_product=parts.pair_needs_product,
    )
    return Packed(files, description)


def write(model_folder: Path, packed: Packed | None, note: Note) -> None:
    """Write a model's parts, if it has any, and the note."""
    folder = model_folder / FOLDER
    folder.mkdir()
    for name, content in (packed.files if packed is not None else {}).items():
        (folder / name).write_bytes(content)
    (folder / NOTE_FILE).write_bytes(note.to_bytes())


def read_note(model_folder: Path) -> Note:
    """Read the note on a model's split.

    Raises:
        ModelRejected: it is damaged.
    """
    try:
        return Note.from_bytes(read_bounded(model_folder / FOLDER / NOTE_FILE, MAX_BYTES))
    except FileNotFoundError:
        return NOT_TRIED
    except OSError as err:
        raise ModelRejected(f"The note on its split cannot be read: {err.strerror or err}.") from err


def read_parts(model_folder: Path, description: Description) -> Parts:
    """Read a model's parts.

    Raises:
        ModelRejected: a file is missing, damaged, or not what was stored.
    """
    if unknown := sorted(description.files.keys() - {*GRAPH_FILES.values(), TREES_FILE}):
        raise ModelRejected(f"The split of its graph has a file {unknown[0]}, which this version does not know.")
    folder = model_folder / FOLDER
    contents = {name: _read(folder / name, digest) for name, digest in description.files.items()}
    graphs = {name: contents.get(file) for name, file in GRAPH_FILES.items()}
    trees = Ensemble.load(folder / TREES_FILE) if TREES_FILE in contents else None
    return Parts(**graphs, trees=trees, pair_needs_product=description.pair_needs_product)


def _read(path: Path, digest: str) -> bytes:
    try:
        content = read_bounded(path, MAX_PART_BYTES)
    except OSError as err:
        raise ModelRejected(f"{FOLDER}/{path.name} cannot be read: {err.strerror or err}.") from err
    if _digest(content) != digest:
        raise ModelRejected(f"{FOLDER}/{path.name} is not what was stored: it was changed or damaged.")
    return content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
