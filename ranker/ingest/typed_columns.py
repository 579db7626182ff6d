"""Typed columns of files and data frames: values of one feature, however a library holds them, as its float32 columns.

Owns what is a value of a type there, and which whole numbers float32 would change. What libraries hold, `frames` knows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ranker.errors import UnusableValue
from ranker.ingest.frames import ABSENT, NUMBERS, array_of, find_whole_limit, has_lost_digits, plain_values
from ranker.vectors.feature import Feature
from ranker.vectors.feature.columns import Elements, to_columns
from ranker.vectors.feature.values import default_columns, parse_all, parse_text
from ranker.vectors.rounding import EXACT, Mask, find_changed, find_changed_in, is_changed
from ranker.vectors.rows import Matrix

NAN_INSIDE = "some of its elements are NaN, and `missing: nan` alone lets them be"
NO_TEXT = "is a number, and the vocabulary has none: give the text, not its code"
FROM_NARROW = "a whole number is beyond what its float holds exactly: write it as an integer or a double"


@dataclass(slots=True)
class Converted:
    """n values of one feature.

    Attributes:
        columns: Shape (n, w), float32; meaningless where a value is unusable.
        unusable: Why, by position.
        absent: Which values are missing and nothing stands in, by position; they are not among the others.
        rounded: Which have a whole number that float32 changes, shape (n,); None for none of them.
        unknown: Texts that the vocabulary lacks and that count as unknown, and how often each is there.
        lacks_all: Whether no value is there, and something stands in for each.
    """

    columns: Matrix
    unusable: dict[int, str]
    absent: list[int]
    rounded: Mask | None
    unknown: Counter[str] = field(default_factory=Counter)
    lacks_all: bool = False


def convert(feature: Feature, column: Any) -> Converted:
    """Convert n values.

    Args:
        feature: Whose they are.
        column: An array, a column of a library, or any sequence: of numbers, texts or lists; None, or NaN in the place
            of a text or list, where there is none.
    """
    array = np.zeros(0) if isinstance(column, list | tuple) else array_of(column)
    are_numbers = len(array) and array.dtype.kind in NUMBERS and array.shape == (len(array), *feature.shape)
    if are_numbers and not has_lost_digits(column, array):
        fast = _convert_numbers(feature, array)
        if fast is not None:
            return fast
    limit = find_whole_limit(column, array) if feature.kind.whole else None
    return _convert_values(feature, plain_values(column), limit)


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
    lacking = _stand_in(feature, columns, absent)
    unknown, _ = _find_unknown(feature, texts if feature.width == 1 else [*map(_parsed, texts)])
    return Converted(columns, unusable, lacking, rounded, unknown, len(absent) == len(texts) and not lacking)


def _parsed(text: str | None) -> Any:
    with suppress(orjson.JSONDecodeError):
        return None if text is None else orjson.loads(text)
    return None


def _convert_numbers(feature: Feature, array: npt.NDArray[Any]) -> Converted | None:
    """Convert an array of numbers in a few operations; None where some are no values of the type."""
    kind = feature.kind
    if feature.is_sequence or feature.type in ("text", "category"):
        return None
    items = array.reshape(len(array), -1)
    if items.dtype == np.float16:
        items = items.astype(np.float32)  # which the limits of other types are within
    is_nan = np.isnan(items)
    least, largest = kind.limits
    good = (items >= least) & (items <= largest)
    if kind.whole:
        good &= np.trunc(items) == items
        if array.dtype.kind == "f":
            good &= np.abs(items) < 2.0 ** min(53, np.finfo(array.dtype).nmant + 1)
    elif feature.type == "bool":
        good &= (items == 0) | (items == 1)
    if not (good | is_nan).all():
        return None
    nan = is_nan.all(axis=1)
    partly = [] if feature.missing == "nan" else np.flatnonzero(is_nan.any(axis=1) & ~nan).tolist()
    if is_nan.any() and (kind.whole or feature.missing != "nan"):
        items = np.where(is_nan, 0, items)
    rounded = find_changed(array) if kind.stored.kind == "f" else None
    columns = to_columns(feature, Elements(items.astype(np.int64) if kind.whole else items))
    absent = [] if feature.missing == "nan" else np.flatnonzero(nan).tolist()
    changed: Mask | None = None if rounded is None else np.any(rounded.reshape(len(array), -1), axis=1)
    lacking, lacks_all = _stand_in(feature, columns, absent), bool(is_nan.all())
    return Converted(columns, dict.fromkeys(partly, NAN_INSIDE), lacking, changed, lacks_all=lacks_all and not lacking)


def _convert_values(feature: Feature, values: list[Any], whole_limit: float | None) -> Converted:
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
    if whole_limit is not None:
        reasons |= {i: FROM_NARROW for i in there if _largest(values[i]) >= whole_limit}
    if feature.missing != "nan" and (feature.shape or feature.is_sequence):
        reasons |= {i: NAN_INSIDE for i in np.flatnonzero(np.isnan(columns).any(axis=1)).tolist() if i not in reasons}
    unknown, codes = _find_unknown(feature, values)
    lacking = _stand_in(feature, columns, absent)
    return Converted(columns, reasons | codes, lacking, rounded, unknown, not there and not lacking)


def _find_unknown(feature: Feature, values: Sequence[Any]) -> tuple[Counter[str], dict[int, str]]:
    """Return the texts that count as unknown, and which values are codes in the place of texts, and so unusable."""
    unknown: Counter[str] = Counter()
    codes: dict[int, str] = {}
    if feature.unknown is None:
        return unknown, codes
    known = feature.codes
    has_numbers = any(text.removeprefix("-").isdecimal() for text in known)
    for i, value in enumerate(values):
        for part in (value,) if isinstance(value, str) else _parts(value):
            text = str(part) if type(part) is int else part
            if isinstance(text, str) and text not in known:
                if type(part) is int and not has_numbers:
                    codes[i] = f"{text} {NO_TEXT}"
                else:
                    unknown[text] += 1
    return unknown, codes


def _parts(value: Any) -> Iterator[Any]:
    """Yield what is in lists in lists."""
    if not isinstance(value, list):
        yield value
        return
    for part in value:
        yield from _parts(part)


def _stand_in(feature: Feature, columns: Matrix, absent: list[int]) -> list[int]:
    """Write what stands in for absent values; return those for which nothing does."""
    if absent and feature.missing in ("default", "nan"):
        columns[absent] = default_columns(feature)
        return []
    return absent


def _largest(value: Any) -> float:
    """Return the largest size of the numbers in a value, or in lists in lists."""
    return max((abs(part) for part in _parts(value) if isinstance(part, int | float)), default=0.0)


def _exactly(value: Any) -> Any:
    """Return a value without decimals, whole numbers as such and others as floats, and without what is absent in it."""
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
    if isinstance(value, list):
        return [_exactly(part) for part in value]
    return None if type(value).__name__ in ABSENT else value
