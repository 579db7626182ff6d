"""Absent values: what a group says of those of a feature that says nothing itself. Pure.

Owns which types have a NaN, and what stands in where they have none. What a feature says itself is `description`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ranker.vectors.feature.kinds import KINDS, FeatureType

WhenAbsent = Literal["default", "nan", "refuse"]
"""Stand-in for an absent value: the feature's default; NaN, for a model that was trained to know NaN as missing; or
none, so that a row that lacks it cannot be used."""


def has_nan(kind: FeatureType, length: int | None) -> bool:
    """Say whether a feature of this type and length can be NaN."""
    return not KINDS[kind].whole and length is None


def hand_down(missing: WhenAbsent, feature: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a group's `missing` adds to a feature, both as a schema says them.

    Where the group says `nan`, a feature that cannot be NaN has its default, and a category with a code for what it
    does not know has that code: its graph was made for whole numbers.
    """
    if {"default", "missing"} & feature.keys():
        return {}
    if missing != "nan":
        return {"missing": missing}
    kind, unknown = feature.get("type", "float32"), feature.get("unknown")
    if kind == "category" and type(unknown) is int and not feature.get("shape") and feature.get("length") is None:
        return {"missing": "default", "default": unknown}
    can_be = kind not in KINDS or has_nan(kind, feature.get("length"))
    return {"missing": "nan" if can_be else "default"}
