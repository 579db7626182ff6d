"""Columns of a feature: elements to float32 and back, many rows in a few array operations. Pure.

Elements are what a value is made of: numbers, codes, ids, bytes of text. Owns digits and padding; what people write for
a value is `values`' business, and what is stored of it `stored.records`'.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ranker.vectors.feature.description import Feature
from ranker.vectors.feature.kinds import DIGIT_BITS, TEXT_BYTES
from ranker.vectors.rows import Counts, Matrix

_DIGIT_MASK = (1 << DIGIT_BITS) - 1


class Elements(NamedTuple):
    """Elements of one feature in n rows.

    Attributes:
        items: Shape (n, size): float32, or int64 for whole numbers, or uint8 for the bytes of text.
        counts: How many of them are there in each row, shape (n,); None for what is no sequence.
    """

    items: npt.NDArray[Any]
    counts: Counts | None = None


def to_columns(feature: Feature, elements: Elements) -> Matrix:
    """Return the columns of n rows, shape (n, feature.width).

    Args:
        feature: Whose elements they are.
        elements: Those of n rows; what lies behind a sequence's count is taken for zero.
    """
    items, counts = elements
    if feature.type == "text":
        return _pack(items, feature.width)
    columns = np.empty((len(items), feature.width), dtype=np.float32)
    body = columns
    if feature.is_sequence:
        if counts is None:
            raise TypeError(f"{feature.name} is a sequence, whose elements are counted")
        items = np.where(_is_padding(counts, feature), items.dtype.type(0), items)
        columns[:, 0] = counts
        body = columns[:, 1:]
    digits = feature.kind.digits
    if digits == 1:
        with np.errstate(over="ignore"):  # what is beyond the type becomes infinite, which whoever stores it refuses
            body[:] = items.astype(feature.kind.stored) if feature.type == "float16" else items
    else:  # to split the last axis of an array takes no copy
        split_digits(items, body.reshape(len(items), feature.size, digits))
    return columns


def to_elements(feature: Feature, columns: Matrix) -> Elements:
    """Return what `to_columns` made columns of, of shape (n, feature.width)."""
    if feature.type == "text":
        return Elements(_unpack(columns, feature.size))
    body, counts = (columns[:, 1:], columns[:, 0].astype(np.int64)) if feature.is_sequence else (columns, None)
    digits = feature.kind.digits
    return Elements(body if digits == 1 else join_digits(body, digits), counts)


def split_digits(whole: npt.NDArray[Any], digits: npt.NDArray[np.float32]) -> None:
    """Write the digits of whole numbers (n, size) into an array (n, size, number of digits)."""
    last = digits.shape[-1] - 1
    for i in range(last):
        digits[..., i] = (whole >> (DIGIT_BITS * i)) & _DIGIT_MASK
    digits[..., last] = whole >> (DIGIT_BITS * last)


def join_digits(columns: Matrix, digits: int) -> npt.NDArray[np.int64]:
    """Return the whole numbers whose digits lie side by side, shape (n, size)."""
    whole = columns[:, digits - 1 :: digits].astype(np.int64)
    for i in range(digits - 2, -1, -1):
        whole = (whole << DIGIT_BITS) | columns[:, i::digits].astype(np.int64)
    return whole


def _is_padding(counts: Counts, feature: Feature) -> npt.NDArray[np.bool_]:
    """Return which elements lie behind the sequence, shape (n, size)."""
    positions = np.arange(feature.size) // max(1, feature.size // (feature.length or 1))
    return positions >= counts[:, np.newaxis]


def _pack(text: npt.NDArray[np.uint8], width: int) -> Matrix:
    padded = np.zeros((len(text), width * TEXT_BYTES), dtype=np.uint32)
    padded[:, : text.shape[1]] = text
    packed = padded[:, ::TEXT_BYTES] | padded[:, 1::TEXT_BYTES] << 8 | padded[:, 2::TEXT_BYTES] << 16
    return packed.astype(np.float32)


def _unpack(columns: Matrix, size: int) -> npt.NDArray[np.uint8]:
    packed = columns.astype(np.uint32)
    parts = np.stack([packed & 0xFF, packed >> 8 & 0xFF, packed >> 16], axis=-1)
    return parts.reshape(len(columns), -1)[:, :size].astype(np.uint8)
