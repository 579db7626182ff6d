"""What a store holds, as rows and as bytes: ids to keys, vectors to bytes. Pure: no I/O.

Stored vector, version 1: an 8-byte header (magic `RV`, version u8, dtype u8, schema fingerprint u32 little-endian),
then W values, little-endian. The way back is in `decoding`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, NewType

import numpy as np
import numpy.typing as npt

from ranker.schema import EntitySchema
from ranker.timings import Reading

UserId = NewType("UserId", str)
ProductId = NewType("ProductId", str)
Key = str | bytes

Matrix = npt.NDArray[np.float32]
"""A 2-D float32 array."""
Scores = npt.NDArray[np.float32]
"""A 1-D float32 array."""
Statuses = npt.NDArray[np.uint8]
"""A 1-D array of `RowStatus`."""

Dtype = Literal["float32", "float16"]

MAGIC = b"RV"
VERSION = 1
HEADER = struct.Struct("<2sBBI")
DTYPE_CODES: dict[Dtype, int] = {"float32": 1, "float16": 2}
VALUE_TYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 2: np.dtype("<f2")}
"""By dtype code."""


class RowStatus(IntEnum):
    """What became of one stored vector."""

    FOUND = 0
    MISSING = 1
    WRONG_SCHEMA = 2
    CORRUPT = 3
    UNREAD = 4
    """The part of the store that has it does not answer."""


class Unread:
    """Stands for a value that cannot be had now; as long as nothing, so that decoders look at it twice."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __len__(self) -> int:
        return 0


@dataclass(slots=True)  # frozen, every field would cost twice as much to set, several times a request
class Rows:
    """Decoded vectors of n entities of one kind.

    Attributes:
        values: Shape (n, W), float32. A row whose status is not FOUND holds no meaning.
        statuses: Shape (n,), uint8, each a `RowStatus`.
        complete: True when every status is FOUND.
    """

    values: Matrix
    statuses: Statuses
    complete: bool

    def __len__(self) -> int:
        return len(self.statuses)

    def taken(self, positions: Sequence[int] | npt.NDArray[np.intp]) -> Rows:
        """Return a copy of the rows at these positions."""
        statuses = self.statuses[positions]
        return Rows(self.values[positions], statuses, np.count_nonzero(statuses) == 0)

    @classmethod
    def missing(cls, n: int, width: int) -> Rows:
        """Return n rows that were not found."""
        return cls(np.empty((n, width), np.float32), np.full(n, RowStatus.MISSING, np.uint8), complete=n == 0)


@dataclass(slots=True)
class Features:
    """What a store has for one request.

    Attributes:
        user: One row, width Wu.
        products: n rows in request order, width Wp.
        held: How many of these rows were in memory, and fresh.
        reading: How the others were read; None where none was.
        unread: Why rows are missing, or are what was last known of them, while others could be read; None when all
            could.
    """

    user: Rows
    products: Rows
    held: int = 0
    reading: Reading | None = None
    unread: str | None = None


def keys(entity: EntitySchema, ids: Sequence[str]) -> list[Key]:
    """Return the keys under which the entities' vectors are stored, in order."""
    before, after = entity.key_parts
    return [before + i + after for i in ids] if after else [before + i for i in ids]


def header(fingerprint: int, dtype: Dtype = "float32") -> bytes:
    """Return the 8 bytes that stand before the values of a version-1 vector."""
    return HEADER.pack(MAGIC, VERSION, DTYPE_CODES[dtype], fingerprint)


def encode(matrix: npt.ArrayLike, fingerprint: int, dtype: Dtype = "float32") -> list[bytes]:
    """Encode a matrix of shape (n, W) as n version-1 vectors."""
    rows = np.ascontiguousarray(matrix, dtype=VALUE_TYPES[DTYPE_CODES[dtype]])
    head = header(fingerprint, dtype)
    return [head + row.tobytes() for row in rows]
