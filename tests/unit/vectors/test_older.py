"""Older schemas: which of their vectors mean the same today, what is told of the others, and what is kept of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ranker.errors import InvalidSchema
from ranker.vectors.older import OlderSchema
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import Encoder
from ranker.vectors.stored.formats import decoder_for


def grown(now: Any, older: Any) -> FeatureSchema:
    stored = {"product": {"features": [older]}}
    new = {"name": "new", "default": 0}
    return FeatureSchema.from_mapping({"product": {"features": [now, new]}, "older": [stored]})


def test_metadata_of_an_older_schema_says_what_stored_bytes_mean_and_no_more() -> None:
    brand = {"name": "brand", "type": "category", "vocabulary": ["x", "y"]}
    said: list[Any] = [
        {"name": "price"},
        {"name": "id", "type": "int64"},
        {"name": "taste", "shape": [2]},
        {"name": "seen", "type": "product", "length": 3},
        brand,
    ]
    more = [{**said[0], "min": 0, "default": 2}, {**said[1], "default": 5}, *said[2:4], {**brand, "unknown": 0}]
    older = OlderSchema.model_validate({"user": {"features": ["age"]}, "product": {"features": more}})
    assert older.to_metadata() == {"user": {"features": [{"name": "age"}]}, "product": {"features": said}}
    alone = OlderSchema.model_validate({"product": {"features": said}})
    assert alone.to_metadata() == {"product": {"features": said}}
    assert OlderSchema.model_validate(alone.to_metadata()) == alone


@pytest.mark.parametrize(("now", "older"), [("float32", "float16"), ("float16", "float32")])
def test_width_of_a_float_may_change(now: str, older: str) -> None:
    schema = grown({"name": "price", "type": now}, {"name": "price", "type": older})
    (vectors,) = schema.older_vectors("product")
    stored = Encoder(vectors.group, vectors.fingerprint).encode(np.array([[1.5]], np.float32))
    rows = decoder_for(schema.product, schema.fingerprint, [vectors]).decode(stored)
    assert (rows.values.tolist(), rows.complete) == ([[1.5, 0]], True)


@pytest.mark.parametrize(
    ("now", "older", "said"),
    [
        (
            {"type": "product", "length": 5},
            {"type": "product", "length": 3},
            "was product, 3 long and is product, 5 long",
        ),
        (
            {"type": "category", "vocabulary": ["x"]},
            {"type": "category", "vocabulary": ["x", "y"]},
            "was category of 2 texts and is category of 1 texts",
        ),
        (
            {"type": "category", "vocabulary": ["y", "x"]},
            {"type": "category", "vocabulary": ["x"]},
            "was category of 1 texts and is category of 2 texts",
        ),
        ({"shape": [2]}, {"shape": [2, 1]}, r"was float32 of shape \[2, 1\] and is float32 of shape \[2\]"),
        ({"type": "int64"}, {"type": "int32"}, "was int32 and is int64"),
        ({"type": "float16"}, {"type": "int32"}, "was int32 and is float16"),
    ],
)
def test_feature_whose_type_has_changed_is_told_with_both(now: Any, older: Any, said: str) -> None:
    with pytest.raises(InvalidSchema, match=f"product a {said}, so what is stored of it means something else"):
        grown({"name": "a", **now}, {"name": "a", **older})
