"""Rounding to float32: finds the whole numbers that it would change, so that none is changed in silence. Pure.

float32 holds every whole number up to 2^24, then every second one, every fourth, and so on: an id beyond it becomes its
neighbour's, and a time in Unix seconds is off by up to 64 s. Fractions are rounded too, which is what float32 is for.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import numpy.typing as npt

BITS = 24
EXACT = 2.0**BITS
"""Largest whole number up to which float32 holds each."""
DOUBLE_EXACT = 2.0**53
"""Largest whole number up to which float64 does; what comes from beyond it says no longer what it was."""
LARGEST = float(np.finfo(np.float32).max)
"""Largest finite float32."""

Mask = npt.NDArray[np.bool_]


def find_changed(numbers: npt.NDArray[Any]) -> Mask | None:
    """Return which of an array's numbers are whole and not the same in float32; None for none of them.

    Args:
        numbers: Of any shape and any type of number. NaN, infinities and what is beyond float32 do not count.
    """
    kind, size = numbers.dtype.kind, numbers.dtype.itemsize
    if kind not in "iuf" or (kind == "f" and size <= np.dtype(np.float32).itemsize) or not numbers.size:
        return None
    if numbers.min() >= -EXACT and numbers.max() <= EXACT:  # False with NaN
        return None
    found = _changed_integers(numbers) if kind in "iu" else _changed_floats(numbers)
    return found if found.any() else None


def is_changed(number: int | Decimal | str) -> bool:
    """Return whether a number, or the text of one, is whole and not the same in float32; exact for any size.

    A text with a point or an exponent may be what a float32, or its double, is written as: 123456790.0 stands for
    123456792, the only float32 that is written so. This is no change.
    """
    text = str(number).strip()
    try:
        exact = Decimal(text).copy_abs()  # copied, as arithmetic would round it
    except InvalidOperation:
        return False
    if not exact.is_finite() or not EXACT < exact <= LARGEST:
        return False
    whole = int(exact)
    if whole != exact or (whole // (whole & -whole)).bit_length() <= BITS:
        return False
    if not isinstance(number, str) or text.lstrip("+-").isdigit():
        return True
    single = np.float32(exact)
    return exact not in (Decimal(str(single)), Decimal(str(float(single))))


def find_changed_in(value: Any) -> float | None:
    """Return the first number of a value, or of lists in lists, that is whole and not the same in float32."""
    if isinstance(value, list | tuple):
        return next((found for part in value if (found := find_changed_in(part)) is not None), None)
    if type(value) not in (int, float) or abs(value) <= EXACT:
        return None
    number: float = value
    return number if is_changed(number if type(number) is int else repr(number)) else None


def _changed_integers(numbers: npt.NDArray[Any]) -> Mask:
    # A number is the same in float32 when what is left of it without its factors of two has 24 bits. (To cast it there
    # and back would depend on the machine, for what is beyond an int64.)
    sizes = np.abs(numbers.astype(np.int64)).view(np.uint64) if numbers.dtype.kind == "i" else numbers.astype(np.uint64)
    factors = sizes & (~sizes + np.uint64(1))
    found: Mask = sizes // np.maximum(factors, 1) >= np.uint64(1 << BITS)
    return found


def _changed_floats(numbers: npt.NDArray[Any]) -> Mask:
    with np.errstate(over="ignore", invalid="ignore"):  # what is beyond float32, or NaN, does not count
        sizes = np.abs(numbers)
        other = numbers.astype(np.float32) != numbers
        found: Mask = other & (sizes > EXACT) & (sizes <= LARGEST) & (np.trunc(numbers) == numbers)
    return found
