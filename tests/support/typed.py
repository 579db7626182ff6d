"""A schema with a feature of every type, and values of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranker.vectors.feature.values import parse
from ranker.vectors.group import FeatureGroup
from ranker.vectors.rows import Matrix
from ranker.vectors.schema import FeatureSchema

USER = {
    "features": [
        "age",
        {"name": "spend", "missing": "nan"},
        {"name": "half", "type": "float16"},
        {"name": "halves", "type": "float16", "shape": [2]},
        {"name": "taste", "shape": [2, 2]},
        {"name": "member", "type": "bool", "missing": "nan"},
        {"name": "segment", "type": "category", "vocabulary": ["new", "vip"], "unknown": -1, "missing": "nan"},
        {"name": "small", "type": "int32"},
        {"name": "last_order_at", "type": "int64", "default": 1},
        {"name": "ids", "type": "int64", "shape": [2]},
        {"name": "viewed", "type": "product", "length": 3},
        {"name": "prices", "length": 2, "shape": [2]},
        {"name": "tags", "type": "category", "vocabulary": ["a", "b"], "length": 2},
        {"name": "city", "type": "text", "length": 7},
    ]
}
SCHEMA = FeatureSchema.from_mapping({"user": USER, "product": {"features": ["price", "stock"]}})
NAN = None
_NUMBERS: list[list[Any]] = [
    [30.0, 1.5, 0.5, [1.0, 2.0], [[1.0, 2.0], [3.0, 4.0]], True, "vip", -5, (1 << 62) + 1, [7, -(1 << 63)]],
    [0.0, NAN, 0.0, [0.0, 0.0], [[0.0, 0.0], [0.0, 0.0]], NAN, NAN, 0, 0, [0, 0]],
    [-1.0, 0.0, -2.0, [0.25, 65504.0], [[0.0, 0.0], [0.0, 1.0]], False, -1, (1 << 31) - 1, -1, [1, 2]],
]
_REST: list[list[Any]] = [
    [[9, 8], [[1.0, 2.0]], ["b"], "Köln"],
    [[], [], [], ""],
    [[1, 2, (1 << 63) - 1], [[1.0, 1.0], [2.0, 2.0]], ["a", "a"], "1234567"],
]
ROWS = [[*numbers, *rest] for numbers, rest in zip(_NUMBERS, _REST, strict=True)]
"""Values as JSON has them; -1 is the code of an unknown category."""


def columns(group: FeatureGroup, *rows: list[Any]) -> Matrix:
    """Return rows of values as columns, shape (n, W)."""
    return np.array(
        [np.concatenate([_columns(f, v) for f, v in zip(group.features, row, strict=True)]) for row in rows]
    )


def _columns(feature: Any, value: Any) -> np.ndarray:
    return np.array([value], np.float32) if feature.name == "segment" and value == -1 else parse(feature, value)
