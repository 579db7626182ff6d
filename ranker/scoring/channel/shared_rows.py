"""Shared rows: memory that an API worker and the runner both map; a matrix goes one way, its scores the other.

Also the protocol of the unix socket beside it, in which the memory is named and calls are announced. After connecting,
the caller sends its file's name, padded to 64 bytes. Then, in turn, one call at a time: the caller sends the number of
rows (u32, little-endian) and the runner answers `OK`, or `FAILED` and, in as many bytes as the next u32 says, what the
model raised. Knows nothing of sockets.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from pathlib import Path

import numpy as np

from ranker.vectors.rows import Matrix, Scores

NAME_BYTES = 64
OK, FAILED = b"\0", b"\1"
U32 = struct.Struct("<I")
_PREFIX = "rows-"


class SharedRows:
    """Room for one matrix (max_rows, F) and its scores, mapped from a file.

    Args:
        fd: The file.
        width: F.
        max_rows: The most rows of one call.

    Attributes:
        matrix: Shape (max_rows, F), float32.
        scores: Shape (max_rows,), float32.
    """

    def __init__(self, fd: int, width: int, max_rows: int) -> None:
        self._map = mmap.mmap(fd, _size(width, max_rows))
        values = np.frombuffer(self._map, dtype=np.float32)
        self.matrix: Matrix = values[: max_rows * width].reshape(max_rows, width)
        self.scores: Scores = values[max_rows * width :]


def create(directory: Path, width: int, max_rows: int) -> tuple[SharedRows, bytes]:
    """Make new memory in a directory; return it with what tells the runner its name."""
    fd, path = tempfile.mkstemp(prefix=_PREFIX, dir=directory)
    try:
        os.ftruncate(fd, _size(width, max_rows))
        return SharedRows(fd, width, max_rows), Path(path).name.encode().ljust(NAME_BYTES, b"\0")
    finally:
        os.close(fd)


def take(directory: Path, told: bytes, width: int, max_rows: int) -> SharedRows:
    """Map memory that a caller named, and take its name away, so that it ends with those who use it.

    Raises:
        ValueError: that is no name of such memory, or it has another size.
        OSError: it cannot be opened.
    """
    name = told.rstrip(b"\0").decode()
    if not name.startswith(_PREFIX) or "/" in name:
        raise ValueError(f"{name[:80]!r} is no name of shared rows")
    path = directory / name
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        size, expected = os.fstat(fd).st_size, _size(width, max_rows)
        if size != expected:
            raise ValueError(f"the file holds {size} bytes, not {expected}")
        return SharedRows(fd, width, max_rows)
    finally:
        os.close(fd)
        path.unlink()


def _size(width: int, max_rows: int) -> int:
    return max_rows * (width + 1) * np.dtype(np.float32).itemsize
