"""Duplicate ids: finds those that repeat, among any number of them, in little memory.

A digest of each id goes to one of 64 files on disk, by its first bits; equal ids meet in the same file, which is then
sorted by itself: 24 bytes of disk for an id, and memory for a 64th of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from hashlib import blake2b
from tempfile import TemporaryFile
from types import TracebackType
from typing import Self

import numpy as np

from ranker.ingest.files.rows import Integers

FILES = 64
_RECORD = np.dtype([("high", "<u8"), ("low", "<u8"), ("row", "<i8")])


class Duplicates:
    """Collects ids with the positions they stand at. A context manager, for it has temporary files."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        # Closed by the stack.
        self._files = [self._stack.enter_context(TemporaryFile()) for _ in range(FILES)]  # noqa: SIM115
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._stack.close()

    def add(self, ids: Sequence[str], positions: Integers) -> None:
        """Note n ids; positions only grow."""
        records = np.empty(len(ids), dtype=_RECORD)
        # 128 bits: two ids of a billion share a digest with a chance of one in 10^20.
        digests = b"".join([blake2b(i.encode("utf-8", "surrogatepass"), digest_size=16).digest() for i in ids])
        halves = np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
        records["high"], records["low"], records["row"] = halves[:, 0], halves[:, 1], positions
        files = (records["high"] % FILES).astype(np.uint8)
        order = files.argsort(kind="stable")
        starts = np.searchsorted(files[order], np.arange(FILES + 1))
        for number, file in enumerate(self._files):
            if starts[number] < starts[number + 1]:
                file.write(records[order[starts[number] : starts[number + 1]]].tobytes())

    def find(self) -> Integers:
        """Return the positions of ids that stand at an earlier position too, sorted."""
        found = [np.empty(0, dtype=np.int64)]
        for file in self._files:
            file.seek(0)
            records = np.frombuffer(file.read(), dtype=_RECORD)
            records = records[np.lexsort((records["row"], records["low"], records["high"]))]
            same = (records["high"][1:] == records["high"][:-1]) & (records["low"][1:] == records["low"][:-1])
            found.append(records["row"][1:][same])
        positions = np.concatenate(found)
        positions.sort()
        return positions
