"""Attributes of an ONNX node as typed lists: integers, float32 or float64 numbers, texts, names of an enumeration.

Owns how an attribute may be written. Knows nothing of what it means.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Attributes = Mapping[str, object]
"""Attributes of an ONNX node: integers, floats, strings (str or bytes) and lists of them; tensors as arrays."""
Named = TypeVar("Named", bound=IntEnum)


class NotSplittable(Exception):
    """Trees that stay in the graph; the message says why, in one sentence."""


def read_array(attributes: Attributes, name: str) -> npt.NDArray[Any]:
    """Return an attribute as an array, empty where it is not there."""
    given: Any = attributes.get(name, ())
    return np.asarray(given)


def read_floats(attributes: Attributes, name: str) -> npt.NDArray[Any]:
    """Return a list of numbers, or the tensor that takes its place: float32 or float64."""
    given = read_array(attributes, f"{name}_as_tensor")
    if given.size:
        if given.dtype not in (np.float32, np.float64):
            raise NotSplittable(f"{name}_as_tensor is of {given.dtype}")
        return given.reshape(-1)
    given = read_array(attributes, name)
    if isinstance(attributes.get(name), np.ndarray) and given.dtype not in (np.float32, np.float64):
        raise NotSplittable(f"{name} is of {given.dtype}")
    # Python's floats of an attribute are float32 that were made wider.
    return given.reshape(-1) if isinstance(attributes.get(name), np.ndarray) else given.astype(np.float32)


def read_ints(attributes: Attributes, name: str, count: int | None = None) -> list[int]:
    """Return a list of integers, of so many where `count` is given."""
    values = [int(value) for value in read_array(attributes, name).reshape(-1).tolist()]
    if count is not None and len(values) != count:
        raise NotSplittable(f"{name} has {len(values)} entries where {count} are needed")
    return values


def require_size(values: npt.NDArray[Any], count: int, name: str) -> npt.NDArray[Any]:
    """Return the values, which must be so many."""
    if len(values) != count:
        raise NotSplittable(f"{name} has {len(values)} entries where {count} are needed")
    return values


def read_texts(attributes: Attributes, name: str) -> list[str]:
    """Return a list of texts."""
    given: Any = attributes.get(name, ())
    return [value.decode() if isinstance(value, bytes) else str(value) for value in given]


def read_text(attributes: Attributes, name: str, default: str) -> str:
    """Return a text, or the default where it is not there."""
    given = attributes.get(name, default)
    return given.decode() if isinstance(given, bytes) else str(given)


def read_int(attributes: Attributes, name: str, default: int) -> int:
    """Return an integer, or the default where it is not there."""
    given: Any = attributes.get(name, default)
    return int(given)


def find_named(kind: type[Named], name: str) -> Named:
    """Return the member of an enumeration that has this name."""
    if name not in kind.__members__:
        raise NotSplittable(f"{name!r} is not known")
    return kind[name]


def find_numbered(kind: type[Named], number: int) -> Named:
    """Return the member of an enumeration that has this number."""
    if number not in [member.value for member in kind]:
        raise NotSplittable(f"{kind.__name__.lower()} {number} is not known")
    return kind(number)
