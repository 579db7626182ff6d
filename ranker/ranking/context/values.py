"""Values of a request's feature, to columns: numbers, categories, vectors, exact whole numbers and histories.

Owns what of them is refused, and what an absent or unknown one becomes. Knows nothing of JSON, HTTP or other features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ranker.vectors.feature import LARGEST, ProductContextFeature
from ranker.vectors.feature.values import parse_all
from ranker.vectors.rounding import EXACT, find_changed_in, is_changed

Reason = Literal["absent", "unknown_category"]
OnDefault = Callable[[str, Reason, int], None]
"""Told a feature, why values of it took the default, and how many did."""
SayRounded = Callable[[str, float, int], None]
"""Told a feature, one of its whole numbers that float32 changes, and of how many values it has such."""
Numbers = npt.NDArray[np.float32] | npt.NDArray[np.float64]

FINITE = "Input should be a finite number, as a float32"
_NUMBERS_OR_NULL = frozenset((float, int, bool, type(None)))
_TEXT_OR_NULL = frozenset((str, type(None)))


class ValueReader:
    """Reads the values of one feature after another.

    Args:
        on_default: Told of values that were absent or unknown.
        say_rounded: Told of whole numbers that float32 changes.
    """

    def __init__(self, on_default: OnDefault, say_rounded: SayRounded = lambda *_: None) -> None:
        self._on_default = on_default
        self._say_rounded = say_rounded

    def read(
        self,
        group: str,
        feature: ProductContextFeature,
        values: Sequence[Any] | None,
        default: npt.NDArray[np.float32] | np.float32,
        n: int = 1,
    ) -> Numbers | np.float32:
        """Return the columns of a feature's n values, shape (n, its width), or of a plain one (n,); or the default's.

        Raises:
            Refused: one of them cannot be used, or there are not n.
        """
        name = f"{group}.{feature.name}"
        if values is None:
            refuse_absent(feature)
            self._on_default(name, "absent", n)
            return default
        if len(values) != n:
            raise Refused(f"Input should have one value for each of the {n} products, not {len(values)}")
        columns, lacking, rounded = _parse_plain(feature, values) if feature.is_plain else _parse_typed(feature, values)
        if rounded:
            self._say_rounded(name, rounded[0], len(rounded))
        if lacking:
            if absent := [i for i in lacking if values[i] is None]:
                refuse_absent(feature, absent[0] if n > 1 else None)
                self._on_default(name, "absent", len(absent))
            if unknown := len(lacking) - len(absent):
                self._on_default(name, "unknown_category", unknown)
            columns[lacking] = default
        return columns


class Refused(Exception):
    """A value that cannot be used: a sentence to follow the feature's name, and which of n values it is."""

    def __init__(self, sentence: str, at: int | None = None) -> None:
        super().__init__(f": {sentence}" if at is None else f".{at}: {sentence}")


def refuse_absent(feature: ProductContextFeature, at: int | None = None) -> None:
    """Raise for a value that is absent, where the schema says that nothing stands in for it."""
    if feature.missing == "refuse":
        raise Refused("Input should be there, for the schema has no stand-in", at)


def is_rounded(number: float) -> bool:
    """Say whether a number of a request is a whole one that float32 changes."""
    return is_changed(number if type(number) is int else repr(number))


_Parsed = tuple[Numbers, list[int], list[float]]
"""The columns of n values; which are absent or of no known category, whose columns hold no meaning; and whole numbers
that float32 changes, one of each value that has such."""


def _parse_plain(feature: ProductContextFeature, values: Sequence[Any]) -> _Parsed:
    """Parse numbers, or categories that stand for one, in a few array operations."""
    rounded: list[float] = []
    if feature.categories is None:
        numbers, large = _numbers(values)
        rounded = [values[i] for i in large if is_rounded(values[i])]
    else:
        numbers = _mapped(values, feature.categories)
    (lacking,) = np.isnan(numbers).nonzero()
    return numbers, lacking.tolist(), rounded


def _parse_typed(feature: ProductContextFeature, values: Sequence[Any]) -> _Parsed:
    """Parse values of any other type."""
    columns, unusable = parse_all(feature, values)
    lacking = {i for i, value in enumerate(values) if value is None}
    lacking |= {i for i, err in unusable.items() if err.unknown and feature.may_lack}
    for i in sorted(unusable.keys() - lacking):
        raise Refused(f"Input should be {_wanted(feature)}: {unusable[i].reason}", i if len(values) > 1 else None)
    rounded: list[float] = []
    if feature.kind.stored.kind == "f" and (np.abs(columns) >= EXACT).any():
        rounded = [number for value in values if (number := find_changed_in(value)) is not None]
    return columns, sorted(lacking), rounded


def _numbers(values: Sequence[Any]) -> tuple[npt.NDArray[np.float64], list[int]]:
    """Return n numbers, NaN where there is None and nowhere else; and where those beyond 2^24 are."""
    if not set(map(type, values)) <= _NUMBERS_OR_NULL:
        raise Refused(
            "Input should be a number, a boolean or null", _first(type(v) not in _NUMBERS_OR_NULL for v in values)
        )
    try:
        numbers = np.array(values, dtype=np.float64)
    except OverflowError:  # an integer beyond a double
        raise Refused(FINITE, _first(v is not None and not abs(v) <= LARGEST for v in values)) from None
    (beyond,) = (~(np.abs(numbers) <= EXACT)).nonzero()
    large = [i for i in beyond.tolist() if values[i] is not None]
    if refused := [i for i in large if not abs(values[i]) <= LARGEST]:
        raise Refused(FINITE, refused[0])
    return numbers, large


def _mapped(values: Sequence[Any], categories: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Return the numbers of n categories; NaN where there is None, or the category is unknown."""
    if not set(map(type, values)) <= _TEXT_OR_NULL:
        raise Refused("Input should be a string or null", _first(type(v) not in _TEXT_OR_NULL for v in values))
    return np.array([*map(categories.get, values)], dtype=np.float64)


def _first(wrong: Iterable[bool]) -> int:
    return next(i for i, is_wrong in enumerate(wrong) if is_wrong)


def _wanted(feature: ProductContextFeature) -> str:
    """Say what a feature's value is."""
    shape = f" of shape {feature.shape}" if feature.shape else ""
    kind = f"a list of up to {feature.length} of {feature.type}" if feature.is_sequence else feature.type
    return f"{kind}{shape}"
