"""Tables of a graph: which ids its look-ups know, found by asking for ids that none can hold.

ONNX Runtime refuses a whole call over one id that is in no table, so a product's bad id would cost all products of the
request. Import asks for such ids once, and the schema says from then on which a feature may have. Owns the asking;
whatever the graph does before it looks up, such as subtracting the first id, is in the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ranker.errors import ModelFailed
from ranker.vectors.feature import Feature
from ranker.vectors.feature.columns import Elements, to_columns
from ranker.vectors.rows import Matrix, Scores
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.schema_metadata import in_metadata

Score = Callable[[Matrix], Scores]

BEYOND = re.compile(r"idx=(-?\d+) must be within the inclusive range \[(-?\d+),(-?\d+)\]")
"""Error message of ONNX Runtime for an index out of a Gather's range."""
FAR = {True: (1 << 31) - 1, False: 1 << 24}
"""Ids to ask for, by whether the type is whole: no table is as large, and an int32, or a float32, holds them."""
STEP = 4097
"""Distance of a second id from the first, which shows that the index grows as the id does."""
MAX_TABLES = 1000
MOST_DEFAULTS = 3
_NO_IDS = ("bool", "category", "text")


class _Element(NamedTuple):
    """One element of a feature; of a sequence the first, for all have one table."""

    group: str
    feature: Feature
    columns: slice
    at: int


class _Miss(NamedTuple):
    """Miss in a table: what was looked up in vain, and what there would have been."""

    asked: int
    least: int
    largest: int


def with_bounds(schema: FeatureSchema, score: Score) -> FeatureSchema:
    """Return the schema with `min` and `max` of those features that the graph looks up in a table.

    Args:
        schema: The model's. What it says of bounds stays.
        score: Matrix (n, F) to scores (n,); raises ModelFailed.
    """
    elements = [
        _Element(group, feature, columns, at)
        for group in schema.groups
        for feature, columns in schema.columns_of(group)
        if feature.type not in _NO_IDS and feature.min is None and feature.max is None
        if not (feature.shape and group in schema.side_information)
        for at in range(1 if feature.is_sequence else feature.size)
    ]
    found: dict[tuple[str, str], dict[int, tuple[int, int]]] = {}
    for element in _find_looked_up(schema, score, elements)[:MAX_TABLES]:
        limits = _find_limits(schema, score, element)
        if limits is not None:
            found.setdefault((element.group, element.feature.name), {})[element.at] = limits
    if not found:
        return schema
    data = schema.to_metadata()
    for (group, name), limits_at in found.items():
        of = "product" if group in schema.side_information else group  # what is looked up are products
        (described,) = [one for one in in_metadata(data, of)["features"] if one["name"] == name]
        feature = next(one for one in schema.groups[of].features if one.name == name)
        _narrow(described, _described(feature, limits_at))
    return FeatureSchema.from_mapping(data)


def _narrow(described: dict[str, Any], limits: dict[str, Any]) -> None:
    """Give a feature bounds, within those that another table has given it."""
    for end, narrower in (("min", np.maximum), ("max", np.minimum)):
        known = described.get(end)
        described[end] = limits[end] if known is None else narrower(known, limits[end]).tolist()


def find_defaults(schema: FeatureSchema, score: Score) -> list[str]:
    """Return features with a default that the graph knows, as a schema says them, where it knows not those that are.

    Args:
        schema: The model's.
        score: Matrix (n, F) to scores (n,); raises ModelFailed.
    """
    if (missed := _ask(schema, score, [])) is None:
        return []
    found = []
    for group in schema.groups:
        for feature, columns in schema.columns_of(group):
            default, is_one = feature.default, feature.size == 1 and not feature.is_sequence
            if feature.type in _NO_IDS or not is_one or not isinstance(default, int | float):
                continue
            known = int(np.nan_to_num(default)) + max(missed.least, 0) - missed.asked
            if _ask(schema, score, [_Element(group, feature, columns, 0)], known) != missed:
                found.append(f"{{name: {feature.name}, default: {known}}}")
            if len(found) == MOST_DEFAULTS:
                return found
    return found


def _find_looked_up(schema: FeatureSchema, score: Score, elements: Sequence[_Element]) -> list[_Element]:
    """Return the elements that a table must hold: halved for as long as a far id in them all is missed."""
    if not elements or _ask(schema, score, elements) is None:
        return []
    if len(elements) == 1:
        return list(elements)
    middle = len(elements) // 2
    return _find_looked_up(schema, score, elements[:middle]) + _find_looked_up(schema, score, elements[middle:])


def _find_limits(schema: FeatureSchema, score: Score, element: _Element) -> tuple[int, int] | None:
    """Return the least and the largest id that the graph knows; None where its index is not the id, save a shift."""
    far = FAR[element.feature.kind.whole]
    first, second = _ask(schema, score, [element]), _ask(schema, score, [element], far - STEP)
    if first is None or second is None or first.asked - second.asked != STEP:
        return None
    shift = first.asked - far
    # A negative index counts from the table's end, which no id means.
    limits = max(first.least, 0) - shift, first.largest - shift
    if any(_ask(schema, score, [element], value) is not None for value in limits):
        return None
    return limits if _ask(schema, score, [element], limits[1] + 1) is not None else None


def _ask(schema: FeatureSchema, score: Score, elements: Sequence[_Element], value: int | None = None) -> _Miss | None:
    """Score the default row with an id in these elements; return what was missed, if anything was."""
    row = np.nan_to_num(schema.defaults)[np.newaxis]
    for element in elements:
        feature = element.feature
        whole = feature.kind.whole
        number = FAR[whole] if value is None else value
        items = np.zeros((1, feature.size), dtype=np.int64 if whole else np.float64)
        items[0, element.at] = number
        counts = np.array([1]) if feature.is_sequence else None
        columns = to_columns(feature, Elements(items, counts))[0]
        per_element = feature.kind.digits
        start = feature.is_sequence + element.at * per_element
        mine = slice(element.columns.start + start, element.columns.start + start + per_element)
        row[0, mine] = columns[start : start + per_element]
        if feature.is_sequence:
            row[0, element.columns.start] = 1
    try:
        score(row)
    except ModelFailed as err:
        if missed := BEYOND.search(err.reason):
            return _Miss(*map(int, missed.groups()))
    return None


def _described(feature: Feature, limits_at: dict[int, tuple[int, int]]) -> dict[str, Any]:
    """Return `min` and `max` of a feature: a number where all its elements have one, else one for each."""
    if feature.is_sequence or not feature.shape:
        ((least, largest),) = limits_at.values()
        return {"min": least, "max": largest}
    ends: tuple[float | int, float | int] = (-(1 << 63), (1 << 63) - 1)
    if not feature.kind.whole:
        ends = feature.kind.limits
    of = [limits_at.get(i, ends) for i in range(feature.size)]
    lists = (np.array([one[side] for one in of], dtype=object).reshape(feature.shape).tolist() for side in (0, 1))
    return dict(zip(("min", "max"), lists, strict=True))
