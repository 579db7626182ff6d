"""Shared rows: memory that an API worker and the runner both map; a matrix goes one way, its scores the other.

Also the protocol of the unix socket beside it, in which the memory is named and calls are announced. After connecting,
the caller sends its file's name, padded to 64 bytes; it tells what the memory holds. Then, in turn, one call at a
time: the caller sends the number of rows (u32, little-endian, whose highest bit says that the caller has no other
request), for a split model also that of requests, and the runner answers `OK`, or `FAILED` and, in as many bytes as
the next u32 says, what the model raised. Knows nothing of sockets.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ranker.vectors.rows import Counts, Matrix, Scores, SplitRows

NAME_BYTES = 64
ALONE = 1 << 31
"""Highest bit of the number of rows: set where the call is the only request that the caller has."""
OK, FAILED = b"\0", b"\1"
U32 = struct.Struct("<I")
_ONE, _TWO = struct.Struct("<I"), struct.Struct("<II")


class SplitWidths(NamedTuple):
    """Widths of what a split model's calls bring beside the prepared rows.

    Attributes:
        request: Wr, the number of columns of a request.
        pair: Wc, the number of columns that it brings for each row.
    """

    request: int
    pair: int


class SharedRows:
    """Room for the rows of one call and their scores, mapped from a file.

    Args:
        fd: The file.
        width: The number of columns of a row: F, or for a split model the prepared ones.
        max_rows: The most rows of one call.
        split: What else a split model's calls bring; None for a whole one.

    Attributes:
        matrix: Shape (max_rows, width), float32.
        scores: Shape (max_rows,), float32.
        announcement_bytes: How long the message is that announces a call.
    """

    def __init__(self, fd: int, width: int, max_rows: int, split: SplitWidths | None = None) -> None:
        self._map = mmap.mmap(fd, _size(width, max_rows, split))
        self._max_rows = max_rows
        self._split = split
        self.announcement_bytes = (_ONE if split is None else _TWO).size
        values = np.frombuffer(self._map, dtype=np.float32)
        # Counts first, for they take 8 bytes each.
        ends = np.cumsum([0 if split is None else 2, width, 1, *(split or SplitWidths(0, 0))]) * max_rows
        self._counts: Counts = values[: ends[0]].view(np.int64)
        rooms = [values[a:b].reshape(max_rows, (b - a) // max_rows) for a, b in pairwise(ends.tolist())]
        self.matrix: Matrix
        self.matrix, scores, self._requests, self._pair = rooms
        self.scores: Scores = scores.reshape(-1)

    def write(self, rows: Matrix | SplitRows, *, alone: bool = False) -> bytes:
        """Write the rows of a call, and return what announces it, and whether it is the caller's only request."""
        n = len(rows)
        if not isinstance(rows, SplitRows):
            self.matrix[:n] = rows
            return _ONE.pack(n | ALONE if alone else n)
        r = len(rows.counts)
        self.matrix[:n] = rows.prepared
        self._requests[:r] = rows.requests
        self._counts[:r] = rows.counts
        if rows.pair is not None:
            self._pair[:n] = rows.pair
        return _TWO.pack(n, r)

    def read(self, announcement: bytes) -> Matrix | SplitRows:
        """Return views of the rows of the call that was announced.

        Raises:
            ValueError: there is no room for so many, or the requests' rows are not all of them.
        """
        if self._split is None:
            (n,) = _ONE.unpack(announcement)
            n &= ~ALONE
            r = n
        else:
            n, r = _TWO.unpack(announcement)
        if not 0 < r <= n <= self._max_rows:
            raise ValueError(f"it asked for scores of {n} rows of {self._max_rows}, for {r} requests")
        if self._split is None:
            return self.matrix[:n]
        counts = self._counts[:r].copy()
        if counts.min() < 1 or counts.max() > n or counts.sum() != n:
            raise ValueError(f"it asked for scores of {n} rows, of which its requests have {counts.sum()}")
        pair = self._pair[:n] if self._split.pair else None
        return SplitRows(self._requests[:r], self.matrix[:n], pair, counts)


def is_alone(announcement: bytes) -> bool:
    """Whether the call that was announced is the only request that its caller has; never said for a split model."""
    return bool(U32.unpack_from(announcement)[0] & ALONE)


def create(directory: Path, width: int, max_rows: int, split: SplitWidths | None = None) -> tuple[SharedRows, bytes]:
    """Make new memory in a directory; return it with what tells the runner its name."""
    fd, path = tempfile.mkstemp(prefix=_prefix(split), dir=directory)
    try:
        os.ftruncate(fd, _size(width, max_rows, split))
        return SharedRows(fd, width, max_rows, split), Path(path).name.encode().ljust(NAME_BYTES, b"\0")
    finally:
        os.close(fd)


def take(
    directory: Path, padded_name: bytes, width: int, max_rows: int, split: SplitWidths | None = None
) -> SharedRows:
    """Map memory that a caller named, and take its name away, so that it ends with those who use it.

    Raises:
        ValueError: that is no name of such memory, or it has another size.
        OSError: it cannot be opened.
    """
    name = padded_name.rstrip(b"\0").decode()
    if not name.startswith(_prefix(split)) or "/" in name:
        raise ValueError(f"{name[:80]!r} is no name of shared rows")
    path = directory / name
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        size, expected = os.fstat(fd).st_size, _size(width, max_rows, split)
        if size != expected:
            raise ValueError(f"the file holds {size} bytes, not {expected}")
        return SharedRows(fd, width, max_rows, split)
    finally:
        os.close(fd)
        path.unlink()


def _prefix(split: SplitWidths | None) -> str:
    """Return how the name of memory begins: by what it holds, for two forms may take as many bytes."""
    return "rows-" if split is None else f"split-rows-{split.request}-{split.pair}-"


def _size(width: int, max_rows: int, split: SplitWidths | None) -> int:
    columns = width + 1 + (0 if split is None else 2 + split.request + split.pair)
    return max_rows * columns * np.dtype(np.float32).itemsize
