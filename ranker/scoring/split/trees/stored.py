"""Stored arrays of an ensemble: an NPZ file without pickle or compression, each array of the kind that it must be.

Owns how the file is read and written. Knows nothing of what the arrays mean to one another.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.vectors.bounded_file import read_bounded

MAX_BYTES = 1 << 31
UNREADABLE = (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile)
"""What reading a file of arrays may raise, whatever is in it."""

_KINDS = {
    "base": "f",
    "vote_weight": "f",
    "voted": "b",
    "threshold": "f",
    "member": "f",
    "by_nan": "b",
    "word": "u",
    "keep": "u",
}
"""Kinds of the arrays that do not hold int64."""


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays by name; the same arrays give the same bytes."""
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # none of them has the name of its own parameter


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a file by name.

    Raises:
        UNREADABLE: there is none, or it holds something else.
    """
    content = BytesIO(read_bounded(path, MAX_BYTES))
    with zipfile.ZipFile(content) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("it is compressed")  # so that what it holds is no larger than itself
    with np.load(content, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    _check_kinds(arrays)
    return arrays


def _check_kinds(arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    for name, array in arrays.items():
        kind = _KINDS.get(name.rpartition(".")[2], "i")
        short = name.endswith((".threshold", ".member", ".word"))
        sizes = (4,) if short else (1,) if kind == "b" else (4, 8) if kind == "f" else (8,)
        if array.ndim != 1 or array.dtype.kind != kind or array.dtype.itemsize not in sizes or not array.dtype.isnative:
            raise ValueError(f"its array {name} is of {array.dtype} and shape {array.shape}")
