"""Weights beside a graph: files that an exporter wrote apart (PyTorch does so by default) become a part of it.

Owns which files are taken, and when they stay files: a protocol buffer holds 2 GB. Only files in the graph's own folder
are read, whatever path it names.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from ranker.errors import ModelRejected
from ranker.importing.graph_file import onnx_package
from ranker.scoring.graph.onnx_file import external_files
from ranker.vectors.bounded_file import read_bounded

MOST_IN_ONE = (2 << 30) - (64 << 20)
"""Bytes of a graph with its weights inside; above, they stay beside it."""
MOST_BESIDE = 64 << 30
"""Bytes of all files beside a graph."""


class GraphFiles(NamedTuple):
    """A graph, and what of it lies in other files.

    Attributes:
        content: The ONNX file.
        folder: Where its weights lie; None where they are inside.
        names: Their files.
    """

    content: bytes
    folder: Path | None = None
    names: tuple[str, ...] = ()

    @property
    def paths(self) -> list[Path]:
        """The files of its weights."""
        return [] if self.folder is None else [self.folder / name for name in self.names]


def read_files(path: Path, most_in_one: int = MOST_IN_ONE) -> GraphFiles:
    """Read an ONNX file, with its weights inside where they fit.

    Args:
        path: The file.
        most_in_one: Bytes that a graph may have with its weights inside.

    Raises:
        ModelRejected: it cannot be read, or names files that may not be read or are not there.
        ImportPackageMissing: weights must be put inside, and the package onnx is not installed.
    """
    try:
        content = read_bounded(path, 2 << 30)
    except OSError as err:
        raise ModelRejected(f"{path} cannot be read: {err.strerror}.") from err
    if not (names := external_files(content)):
        return GraphFiles(content)
    folder = path.resolve().parent
    beside = sum(_size(folder, name) for name in names)
    if beside > MOST_BESIDE:
        raise ModelRejected(f"The weights beside {path} are {beside >> 30} GiB; {MOST_BESIDE >> 30} GiB are the most.")
    if len(content) + beside > most_in_one:
        return GraphFiles(content, folder, names)
    onnx = onnx_package()
    model = onnx.load_model_from_string(content)
    try:
        onnx.load_external_data_for_model(model, str(folder))
    except (OSError, ValueError, onnx.checker.ValidationError) as err:
        raise ModelRejected(f"The weights beside {path} cannot be read: {err}.") from err
    return GraphFiles(bytes(model.SerializeToString()))


def _size(folder: Path, name: str) -> int:
    """Return the size of a file that lies in the folder itself, and is one."""
    if not name or name != os.path.basename(name) or name in (".", ".."):
        raise ModelRejected(
            f"The graph names weights at {name!r}, outside of its folder. Save it with its weights beside it: "
            "onnx.save(model, FILE, save_as_external_data=True, location='weights.bin')."
        )
    try:
        status = os.lstat(folder / name)
    except OSError as err:
        raise ModelRejected(
            f"The graph's weights lie in a file {name}, which is not beside it: {err.strerror}. Copy both, or export "
            "one file: torch.onnx.export(..., external_data=False)."
        ) from err
    if not stat.S_ISREG(status.st_mode):
        raise ModelRejected(f"The graph's weights {name} are a link or no file. Put the file itself beside the graph.")
    return status.st_size
