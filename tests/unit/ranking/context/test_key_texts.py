"""Which text a value of the context is in a key."""

from __future__ import annotations

from typing import Any

import pytest

from ranker.ranking.context.key_texts import KeyTexts
from ranker.vectors.schema import FeatureSchema

FEATURES: dict[str, dict[str, Any]] = {
    "text": {"type": "text", "length": 300},
    "default": {"type": "text", "length": 8, "default": "main"},
    "whole": {"type": "int64"},
    "category": {"type": "category", "vocabulary": ["a", "b"], "default": "b"},
    "code": {"type": "category", "vocabulary": ["a", "b"], "default": 1},
    "first": {"type": "category", "vocabulary": ["a", "b"], "default": 0},
    "before": {"type": "category", "vocabulary": ["a", "b"], "unknown": -1, "default": -1},
    "behind": {"type": "category", "vocabulary": ["a", "b"], "unknown": 2, "default": 2},
    "digit": {"categories": {"0": 1.0}, "default": 0},
    "known": {"categories": {"x": 1.0}, "default": 0},
    "zip": {"prefixes": {"10": 1.0}, "default": 0, "from": "zipCode"},
}


def read(name: str, value: Any, zip_code: str = "") -> str | None:
    schema = FeatureSchema.from_mapping(
        {
            "user": {"features": ["age"]},
            "product": {"features": ["price"]},
            "context": {"features": [{"name": name, **FEATURES[name]}]},
            "groups": {"g": {"per": "user", "key": f"g:{{context.{name}}}", "features": ["x"]}},
        }
    )
    texts = KeyTexts(schema).read({} if value is None else {name: value}, zip_code)
    assert texts is not None
    return texts[name]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("text", "berlin", "berlin"),
        ("text", None, None),
        ("text", "b" * 256, "b" * 256),
        ("text", "b" * 257, None),
        ("default", None, "main"),
        ("whole", 12, "12"),
        ("whole", -3.0, "-3"),
        ("whole", True, "1"),  # as which it is ranked
        ("whole", None, None),
        ("category", "a", "a"),
        ("category", "z", None),
        ("category", None, "b"),
        ("code", None, "b"),
        ("first", None, "a"),
        ("before", None, None),
        ("behind", None, None),
        ("digit", "0", "0"),
        ("digit", None, None),  # the default is what it is mapped to
        ("known", "x", "x"),
        ("known", "y", None),
        ("known", None, None),
    ],
)
def test_value_of_the_context_is_its_text_in_a_key(name: str, value: Any, text: str | None) -> None:
    assert read(name, value) == text


def test_zip_code_can_be_part_of_a_key() -> None:
    assert read("zip", None, "10115") == "10115"
    assert read("zip", None, "20095") is None
    assert read("zip", None) is None


def test_schema_without_such_keys_reads_nothing() -> None:
    schema = FeatureSchema.from_mapping({"user": {"features": ["age"]}, "product": {"features": ["price"]}})
    assert KeyTexts(schema).read({"a": 1}, "1") is None
