"""Kinds of a feature: for each type, what is stored of a value and how many float32 columns it becomes.

A row of the matrix is float32 and nothing else. What float32 would change is therefore spread over several columns, as
digits of base 2^22: a whole number of 32 bits over two, one of 64 over three, each of them exact. Owns these numbers;
the arithmetic is in `columns`.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from ranker.vectors.rounding import LARGEST

FeatureType = Literal["float32", "float16", "int32", "int64", "bool", "category", "text", "product"]

DIGIT_BITS = 22
"""Bits of a digit: it leaves float32, which is exact to 24, a sign and room."""
TEXT_BYTES = 3
"""Bytes of text in a column: as many as float32 holds exactly."""
MAX_CODES = 1 << 24
"""Codes of a vocabulary: beyond, float32 would take one for another."""


class Kind(NamedTuple):
    """Kind of a type: what its values are made of.

    Attributes:
        stored: The type of one element as it is stored; bytes for text.
        digits: Columns of one element; 0 for text, whose columns hold three bytes each.
        whole: Whether its elements are whole numbers, without fractions or NaN.
        limits: The least and the largest element, both included.
    """

    stored: np.dtype[Any]
    digits: int
    whole: bool
    limits: tuple[float | int, float | int]


_INT64 = (-(1 << 63), (1 << 63) - 1)

KINDS: dict[FeatureType, Kind] = {
    "float32": Kind(np.dtype("<f4"), 1, False, (-LARGEST, LARGEST)),
    "float16": Kind(np.dtype("<f2"), 1, False, (-65504.0, 65504.0)),
    "bool": Kind(np.dtype("u1"), 1, False, (0, 1)),
    "category": Kind(np.dtype("<i4"), 1, False, (-MAX_CODES, MAX_CODES)),
    "int32": Kind(np.dtype("<i4"), 2, True, (-(1 << 31), (1 << 31) - 1)),
    "int64": Kind(np.dtype("<i8"), 3, True, _INT64),
    "product": Kind(np.dtype("<i8"), 3, True, _INT64),
    "text": Kind(np.dtype("u1"), 0, False, (0, 255)),
}

NAN_BOOL = 255
"""A stored `bool` that is absent, which is NaN in its column."""
NAN_CODE = -(1 << 31)
"""The same of a stored `category`."""
