"""Typed request features: vectors, categories, whole numbers and histories that a request brings, as columns.

Owns what of them is refused, and what an absent or unknown one becomes. Knows nothing of JSON, HTTP or other features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ranker.vectors.feature import ProductContextFeature
from ranker.vectors.feature.values import parse_all
from ranker.vectors.rounding import EXACT, find_changed_in

Reason = Literal["absent", "unknown_category"]
OnDefault = Callable[[str, Reason, int], None]
"""Told a feature, why values of it took the default, and how many did."""


SayRounded = Callable[[str, float, int], None]


class TypedReader:
    """Reads features that are no plain numbers.

    Args:
        on_default: Told of values that were absent or unknown.
        say_rounded: Told a feature, one of its whole numbers that float32 changes, and of how many values it has such.
    """

    def __init__(self, on_default: OnDefault, say_rounded: SayRounded = lambda *_: None) -> None:
        self._on_default = on_default
        self._say_rounded = say_rounded

    def read(
        self,
        group: str,
        feature: ProductContextFeature,
        values: Sequence[Any] | None,
        default: npt.NDArray[np.float32],
        n: int = 1,
    ) -> npt.NDArray[np.float32]:
        """Return the columns of a feature's n values, shape (n, its width), or the default's for all alike."""
        name = f"{group}.{feature.name}"
        if values is None:
            refuse_absent(feature)
            self._on_default(name, "absent", n)
            return default
        if len(values) != n:
            raise Refused(f"Input should have one value for each of the {n} products, not {len(values)}")
        absent = [i for i, value in enumerate(values) if value is None]
        if absent:
            refuse_absent(feature, absent[0] if n > 1 else None)
            self._on_default(name, "absent", len(absent))
        columns, unusable = parse_all(feature, values)
        columns[absent] = default
        unknown = [i for i, err in unusable.items() if err.unknown and feature.may_lack]
        if unknown:
            self._on_default(name, "unknown_category", len(unknown))
            columns[unknown] = default
        for i in sorted(unusable.keys() - {*absent, *unknown}):
            raise Refused(f"Input should be {_wanted(feature)}: {unusable[i].reason}", i if n > 1 else None)
        if feature.kind.stored.kind == "f" and (np.abs(columns) >= EXACT).any():
            rounded = [number for value in values if (number := find_changed_in(value)) is not None]
            if rounded:
                self._say_rounded(name, rounded[0], len(rounded))
        return columns


class Refused(Exception):
    """A value that cannot be used: a sentence to follow the feature's name, and which of n values it is."""

    def __init__(self, sentence: str, at: int | None = None) -> None:
        super().__init__(f": {sentence}" if at is None else f".{at}: {sentence}")


def refuse_absent(feature: ProductContextFeature, at: int | None = None) -> None:
    """Raise for a value that is absent, where the schema says that nothing stands in for it."""
    if feature.missing == "refuse":
        raise Refused("Input should be there, for the schema has no stand-in", at)


def _wanted(feature: ProductContextFeature) -> str:
    """Say what a feature's value is."""
    shape = f" of shape {feature.shape}" if feature.shape else ""
    kind = f"a list of up to {feature.length} of {feature.type}" if feature.is_sequence else feature.type
    return f"{kind}{shape}"
