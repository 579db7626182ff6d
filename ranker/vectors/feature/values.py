"""Values of a feature as people and JSON write them, to columns. Pure.

Owns which value is taken for which type, and what is said of one that is not. `columns` has the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ranker.errors import UnusableValue
from ranker.vectors.feature.columns import Elements, to_columns
from ranker.vectors.feature.description import Feature
from ranker.vectors.rounding import DOUBLE_EXACT
from ranker.vectors.rows import Matrix

BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
SHOWN = 40
"""Characters of a value that a message shows."""
_NAN = float("nan")


def default_columns(feature: Feature) -> npt.NDArray[np.float32]:
    """Return the default's columns, shape (feature.width,).

    Raises:
        UnusableValue: it is none of the feature's type.
    """
    default = feature.default
    if isinstance(default, float) and math.isnan(default):
        return np.full(feature.width, default, dtype=np.float32)
    if "default" not in feature.model_fields_set:
        return np.zeros(feature.width, dtype=np.float32)
    if feature.shape and not feature.is_sequence and not isinstance(default, tuple):
        default = np.full(feature.shape, default, dtype=object).tolist()  # one for all
    if feature.type == "category" and type(default) is int:
        return np.full(1, default, dtype=np.float32)
    return parse(feature, default)


def parse(feature: Feature, value: Any) -> npt.NDArray[np.float32]:
    """Return the columns of one value, shape (feature.width,).

    Args:
        feature: Whose value it is.
        value: As JSON has it: a number, a boolean, a text, or lists of them; None for one that is absent.

    Raises:
        UnusableValue: it is none of the feature's type, or absent and nothing stands in.
    """
    if value is None:
        return stand_in(feature)
    if feature.type == "text":
        packed: npt.NDArray[np.float32] = to_columns(feature, Elements(_text(feature, value)[np.newaxis]))[0]
        return packed
    flat = _flatten(feature, value)
    items = np.zeros(feature.size, dtype=np.int64 if feature.kind.whole else np.float64)
    items[: len(flat)] = [_element(feature, element) for element in flat]
    counts = np.array([len(flat) * (feature.length or 1) // feature.size]) if feature.is_sequence else None
    columns: npt.NDArray[np.float32] = to_columns(feature, Elements(items[np.newaxis], counts))[0]
    return columns


def parse_all(feature: Feature, values: Sequence[Any]) -> tuple[Matrix, dict[int, UnusableValue]]:
    """Return the columns of n values as `parse` takes them, shape (n, feature.width), and those that are unusable.

    The columns of an unusable one hold no meaning. Numbers without gaps, and categories, take a few array operations.
    """
    fast = _codes(feature, values) if feature.type == "category" else _numbers(feature, values)
    if fast is not None:
        return fast, {}
    columns = np.zeros((len(values), feature.width), dtype=np.float32)
    unusable: dict[int, UnusableValue] = {}
    for i, value in enumerate(values):
        try:
            columns[i] = parse(feature, value)
        except UnusableValue as err:
            unusable[i] = err
    return columns, unusable


def parse_text(feature: Feature, text: str) -> npt.NDArray[np.float32]:
    """Return the columns of a value that is text, as a CSV file or a field of a hash has it, shape (feature.width,).

    Vectors and sequences are JSON arrays.

    Raises:
        UnusableValue: it is none of the feature's type.
    """
    if feature.type == "text" or (feature.type == "category" and not feature.shape and not feature.is_sequence):
        return parse(feature, text)
    if feature.shape or feature.is_sequence:
        try:
            return parse(feature, orjson.loads(text))
        except orjson.JSONDecodeError:
            raise UnusableValue(feature.name, f"{text[:SHOWN]!r} is no JSON array") from None
    return parse(feature, _scalar(feature, text.strip()))


def stand_in(feature: Feature) -> npt.NDArray[np.float32]:
    """Return the columns of what stands in for an absent value, shape (feature.width,).

    Raises:
        UnusableValue: the schema says of none.
    """
    if feature.missing in ("default", "nan"):
        return default_columns(feature)
    raise UnusableValue(feature.name, "a value is missing, and the schema has no `missing: default` or `missing: nan`")


def _codes(feature: Feature, values: Sequence[Any]) -> Matrix | None:
    """Return the column of n known categories; None where they are something else, or some of them are."""
    if feature.width > 1 or not set(map(type, values)) <= {str}:
        return None
    found = [*map(feature.codes.get, values)]
    if None in found:
        return None
    column: Matrix = np.array(found, dtype=np.float32)[:, np.newaxis]
    return column


def _numbers(feature: Feature, values: Sequence[Any]) -> Matrix | None:
    """Return the columns of n numbers or vectors; None where some are something else, or beyond their type."""
    if feature.is_sequence or feature.type == "text":
        return None
    try:
        array = np.array(values)
    except (ValueError, OverflowError):  # of different lengths, or with whole numbers beyond 64 bits
        return None
    taken = "iub" if feature.kind.whole else "fiub"
    if array.shape != (len(values), *feature.shape) or array.dtype.kind not in taken:
        return None
    least, largest = feature.kind.limits
    items = array.reshape(len(values), feature.size)
    if not len(items) or not (np.isnan(items) | ((items >= least) & (items <= largest))).all():
        return None
    if feature.type == "bool" and not np.isin(items, (0, 1)).all():
        return None
    whole = feature.kind.whole
    return to_columns(feature, Elements(items.astype(np.int64 if whole else np.float64)))


def _flatten(feature: Feature, value: Any) -> Sequence[Any]:
    """Return a value's elements in C order; of a sequence that is too long, the first."""
    if feature.is_sequence:
        if not isinstance(value, list | tuple):
            raise UnusableValue(feature.name, f"{_excerpt(value)} is no list")
        nested, shape = value[: feature.length], feature.shape
    else:
        nested, shape = [value], feature.shape
    for size in shape:
        if not all(isinstance(part, list | tuple) and len(part) == size for part in nested):
            raise UnusableValue(feature.name, f"{_excerpt(value)} has not the shape {feature.shape}")
        nested = [element for part in nested for element in part]
    return nested


def _element(feature: Feature, value: Any) -> float | int:
    kind = feature.kind
    if feature.type == "category":
        return _code(feature, value)
    if value is None and feature.missing == "nan":
        return _NAN
    if feature.type == "product" and isinstance(value, str):
        value = _scalar(feature, value)
    if not isinstance(value, int | float):
        raise UnusableValue(feature.name, f"{_excerpt(value)} is no number")
    least, largest = kind.limits
    if kind.whole:
        if isinstance(value, float):
            if not value.is_integer() or abs(value) >= DOUBLE_EXACT:
                raise UnusableValue(feature.name, f"{value!r} is no whole number")
            value = int(value)
    elif isinstance(value, float) and math.isnan(value):  # of a whole number beyond a double, isnan raises
        return value
    if not least <= value <= largest or (feature.type == "bool" and value not in (0, 1)):
        raise UnusableValue(feature.name, f"{_excerpt(value)} is beyond {feature.type}")
    return float(np.float16(value)) if feature.type == "float16" else value


def _code(feature: Feature, value: Any) -> float | int:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None and feature.missing == "nan":
        return _NAN
    if not isinstance(value, str):
        raise UnusableValue(feature.name, f"{_excerpt(value)} is no category, which is a text")
    code = feature.codes.get(value)
    if code is not None:
        return code
    if feature.unknown is None:
        raise UnusableValue(feature.name, f"{_excerpt(value)} is not in the vocabulary", unknown=True)
    return _NAN if feature.unknown == "nan" else feature.unknown


def _text(feature: Feature, value: Any) -> npt.NDArray[np.uint8]:
    if not isinstance(value, str):
        raise UnusableValue(feature.name, f"{_excerpt(value)} is no text")
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise UnusableValue(feature.name, "the text is no valid Unicode") from None
    if len(encoded) > feature.size or encoded.endswith(b"\0"):
        raise UnusableValue(feature.name, f"{_excerpt(value)} takes more than its {feature.size} bytes")
    return np.frombuffer(encoded.ljust(feature.size, b"\0"), dtype=np.uint8)


def _scalar(feature: Feature, text: str) -> float | int:
    """Return the number that a text is."""
    if feature.type == "bool" and text.lower() in BOOLEANS:
        return BOOLEANS[text.lower()]
    try:
        if "_" in text or not text.isascii():  # Python's own notation
            raise ValueError
        return int(text) if feature.kind.whole and text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        raise UnusableValue(feature.name, f"{text[:SHOWN]!r} is no number") from None


def _excerpt(value: Any) -> str:
    return repr(value)[:SHOWN]
