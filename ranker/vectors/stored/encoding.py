"""Encoding: ids to keys, vectors to bytes. Pure: no I/O.

Stored vector, version 1: an 8-byte header (magic `RV`, version u8, dtype u8, schema fingerprint u32 little-endian),
then W values, little-endian. Version 2, where features are no plain numbers, is in `records`. The way back is in
`decoding` and `typed_decoding`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ranker.vectors.group import EntitySchema, FeatureGroup
from ranker.vectors.rows import Key, Matrix
from ranker.vectors.stored.records import RecordLayout

Dtype = Literal["float32", "float16"]

MAGIC = b"RV"
VERSION = 1
RECORD_VERSION = 2
_NO_KEY = b"no join keys"
"""Key that nobody writes, of an id whose values cannot be told apart."""
HEADER = struct.Struct("<2sBBI")
DTYPE_CODES: dict[Dtype, int] = {"float32": 1, "float16": 2}
VALUE_TYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 2: np.dtype("<f2")}
"""By dtype code."""


def make_keys(entity: EntitySchema, ids: Sequence[str]) -> list[Key]:
    """Return the keys under which the entities' vectors are stored, in order."""
    if (view := entity.feast) is not None:
        values = map(entity.join_values, ids)
        return [_NO_KEY if texts is None else view.key(texts) for texts in values]
    before, after = entity.key_parts
    return [before + i + after for i in ids] if after else [before + i for i in ids]


def make_header(fingerprint: int, dtype: Dtype = "float32") -> bytes:
    """Return the 8 bytes that stand before the values of a version-1 vector."""
    return HEADER.pack(MAGIC, VERSION, DTYPE_CODES[dtype], fingerprint)


def make_record_header(fingerprint: int) -> bytes:
    """Return the 8 bytes that stand before the record of a version-2 vector, whose dtype is 0."""
    return HEADER.pack(MAGIC, RECORD_VERSION, 0, fingerprint)


class Encoder:
    """Encodes rows of one entity as its schema has them stored: version 1 where all features are plain, else 2.

    Args:
        group: The entity's features.
        fingerprint: The schema's.
    """

    def __init__(self, group: FeatureGroup, fingerprint: int) -> None:
        self._fingerprint = fingerprint
        self._layout = None if group.is_plain else RecordLayout(group)

    def encode(self, rows: Matrix) -> list[bytes]:
        """Encode rows of columns, shape (n, W), float32."""
        if self._layout is None:
            return encode(rows, self._fingerprint)
        return self._layout.encode(rows, make_record_header(self._fingerprint))


def encode(matrix: npt.ArrayLike, fingerprint: int, dtype: Dtype = "float32") -> list[bytes]:
    """Encode a matrix of shape (n, W) as n version-1 vectors."""
    rows = np.ascontiguousarray(matrix, dtype=VALUE_TYPES[DTYPE_CODES[dtype]])
    head = make_header(fingerprint, dtype)
    return [head + row.tobytes() for row in rows]
