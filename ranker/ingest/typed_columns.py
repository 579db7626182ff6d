"""Typed columns of files and data frames: values of one feature, however a library holds them, as its float32 columns.

Owns what is a value of a type there, and which whole numbers float32 would change. Knows neither files nor frames; it
knows libraries by what they answer to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.errors import UnusableValue
from ranker.vectors.feature import Feature
from ranker.vectors.feature.columns import Elements, to_columns
from ranker.vectors.feature.values import default_columns, parse_all, parse_text
from ranker.vectors.rounding import EXACT, Mask, find_changed, find_changed_in, is_changed
from ranker.vectors.rows import Matrix

NUMBERS = "fiub"
"""The kinds of numpy's types that hold numbers."""

PANDAS_NA = "NAType"
"""The type of what pandas' nullable columns (`Int64`, `string`, `boolean`) have where there is no value."""


@dataclass(slots=True)
class Converted:
    """n values of one feature.

    Attributes:
        columns: Shape (n, w), float32; meaningless where a value is unusable.
        unusable: Why, by position.
        absent: Which values are missing and nothing stands in, by position; they are not among the others.
        rounded: Which have a whole number that float32 changes, shape (n,); None for none of them.
    """

    columns: Matrix
    unusable: dict[int, str]
    absent: list[int]
    rounded: Mask | None


def convert(feature: Feature, column: Any) -> Converted:
    """Convert n values.

    Args:
        feature: Whose they are.
        column: An array, a column of a library, or any sequence: of numbers, texts or lists; None, or NaN in the place
            of a text or list, where there is none.
    """
    array = np.zeros(0) if isinstance(column, list | tuple) else np.asarray(column)
    if len(array) and array.dtype.kind in NUMBERS and array.shape == (len(array), *feature.shape):
        fast = _convert_numbers(feature, array)
        if fast is not None:
            return fast
    return _convert_values(feature, plain_values(column))


def convert_texts(feature: Feature, texts: Sequence[str | None]) -> Converted:
    """Convert n values that are text, as a CSV file has them; vectors and sequences are JSON arrays."""
    columns = np.zeros((len(texts), feature.width), dtype=np.float32)
    unusable: dict[int, str] = {}
    absent = [i for i, text in enumerate(texts) if text is None]
    for i, text in enumerate(texts):
        if text is not None:
            try:
                columns[i] = parse_text(feature, text)
            except UnusableValue as err:
                unusable[i] = err.reason
    rounded = None
    if feature.kind.stored.kind == "f" and (np.abs(columns) >= EXACT).any():
        large = [text or "" if (np.abs(row) >= EXACT).any() else "" for text, row in zip(texts, columns, strict=True)]
        found = [any(map(is_changed, text.strip("[] ").replace("[", "").replace("]", "").split(","))) for text in large]
        rounded = np.array(found)
    return Converted(columns, unusable, _stand_in(feature, columns, absent), rounded)


def plain_values(column: Any) -> list[Any]:
    """Return n values as JSON would have them, whatever library holds them; None for those that are absent there."""
    plain = getattr(column, "to_pylist", None) or getattr(column, "tolist", None) or getattr(column, "to_list", None)
    values = list(column) if plain is None else plain()
    values = [value.tolist() if isinstance(value, np.ndarray | np.generic) else value for value in values]
    return [None if type(value).__name__ == PANDAS_NA else value for value in values]


def _convert_numbers(feature: Feature, array: npt.NDArray[Any]) -> Converted | None:
    """Convert an array of numbers in a few operations; None where some are no values of the type."""
    kind = feature.kind
    if feature.is_sequence or feature.type in ("text", "category"):
        return None
    items = array.reshape(len(array), -1)
    is_nan = np.isnan(items)
    least, largest = kind.limits
    good = (items >= least) & (items <= largest)
    if kind.whole:
        good &= np.trunc(items) == items
        if items.dtype.kind == "f":
            good &= np.abs(items) < 2.0**53
    elif feature.type == "bool":
        good &= (items == 0) | (items == 1)
    if not (good | is_nan).all():
        return None
    nan = is_nan.any(axis=1)
    if nan.any() and (kind.whole or feature.missing != "nan"):
        items = np.where(nan[:, np.newaxis], 0, items)
    rounded = find_changed(array) if kind.stored.kind == "f" else None
    columns = to_columns(feature, Elements(items.astype(np.int64) if kind.whole else items))
    absent = [] if feature.missing == "nan" else np.flatnonzero(nan).tolist()
    changed: Mask | None = None if rounded is None else np.any(rounded.reshape(len(array), -1), axis=1)
    return Converted(columns, {}, _stand_in(feature, columns, absent), changed)


def _convert_values(feature: Feature, values: list[Any]) -> Converted:
    values = [None if isinstance(value, float) and math.isnan(value) else _exactly(value) for value in values]
    absent = [i for i, value in enumerate(values) if value is None]
    there = [i for i, value in enumerate(values) if value is not None]
    columns = np.zeros((len(values), feature.width), dtype=np.float32)
    parsed, unusable = parse_all(feature, [values[i] for i in there])
    columns[there] = parsed
    rounded = None
    if feature.kind.stored.kind == "f" and (np.abs(columns) >= EXACT).any():
        rounded = np.array([find_changed_in(value) is not None for value in values])
    reasons = {there[i]: err.reason for i, err in unusable.items()}
    return Converted(columns, reasons, _stand_in(feature, columns, absent), rounded)


def _stand_in(feature: Feature, columns: Matrix, absent: list[int]) -> list[int]:
    """Write what stands in for absent values; return those for which nothing does."""
    if absent and feature.missing in ("default", "nan"):
        columns[absent] = default_columns(feature)
        return []
    return absent


def _exactly(value: Any) -> Any:
    """Return a value without decimals, whole numbers as such and others as floats, and without what is absent in it."""
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
    if isinstance(value, list):
        return [_exactly(part) for part in value]
    return None if type(value).__name__ == PANDAS_NA else value
