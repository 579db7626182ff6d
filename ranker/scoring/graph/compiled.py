"""Compiled graph: one that the import has built nodes before and behind; what it says of the one it was made from.

Owns the note in the file's metadata, by which a compiled graph is known wherever it is loaded. Knows nothing of nodes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

NOTE = "ranker"
"""Key in the metadata of the ONNX file."""
_DESCRIBED = re.compile(r" \([^)]*\) float(?:32|64)(?:, column (\d+))?")
"""Shape, type and column, behind an output's name."""


@dataclass(frozen=True, slots=True)
class OriginalInput:
    """An input of the graph as it was exported.

    Attributes:
        name: Its name.
        kind: Such as `tensor(int64)`.
        shape: As declared.
        takes: What fills it, such as `user.age` or `mask of user.viewed`.
        because: Whence that is known.
    """

    name: str
    kind: str
    shape: tuple[int | str | None, ...]
    takes: tuple[str, ...]
    because: str = ""

    def __str__(self) -> str:
        axes = ", ".join("?" if axis is None else str(axis) for axis in self.shape)
        takes = ", ".join(self.takes[:6]) + (f" and {len(self.takes) - 6} more" if len(self.takes) > 6 else "")
        return f"{self.name} ({axes}) {self.kind.removeprefix('tensor(').rstrip(')')} = {takes}"


@dataclass(frozen=True, slots=True)
class Compiled:
    """Compiled graph: what the import has made of the one that was exported.

    Attributes:
        matrix: The one input, (n, F) float32.
        inputs: The inputs that are filled from it.
        scores: The output (n,) that a formula gives; None where an output of the exported graph is the score.
        parts: The outputs that the formula is made of, by the names that it calls them.
        classes: Names of the columns of outputs, where the compiled graph holds them no more.
        unused: Features that neither an input nor the formula takes.
        notes: What else was done to the graph.
    """

    matrix: str
    inputs: tuple[OriginalInput, ...]
    scores: str | None = None
    parts: dict[str, str] = field(default_factory=dict)
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def joined(self, names: Collection[str]) -> dict[str, tuple[str, int]]:
        """Return the outputs that the formula is made of: what it calls each → the output's name, and the column.

        Args:
            names: Outputs of the compiled graph.
        """
        found: dict[str, tuple[str, int]] = {}
        for term, described in self.parts.items():
            name = next((name for name in names if described.startswith(f"{name} ")), None)
            if name is not None and (match := _DESCRIBED.match(described, len(name))):
                found[term] = name, int(match[1] or 0)
        return found

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_note(self) -> str:
        return json.dumps(self.as_json(), sort_keys=True)


def read_note(metadata: Mapping[str, str]) -> Compiled | None:
    """Return what a graph says of the one it was made from; None for a graph as it was exported."""
    if (note := metadata.get(NOTE)) is None:
        return None
    data: dict[str, Any] = json.loads(note)
    inputs = tuple(
        OriginalInput(**{**one, "shape": tuple(one["shape"]), "takes": tuple(one["takes"])}) for one in data["inputs"]
    )
    classes = {name: tuple(classes) for name, classes in data["classes"].items()}
    lists = {"unused": tuple(data["unused"]), "notes": tuple(data["notes"])}
    return Compiled(**data | {"inputs": inputs, "classes": classes} | lists)
