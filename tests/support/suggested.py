"""Answers to a suggested schema: lines that ask are rewritten as their owner would, and no other line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

Feature = str | dict[str, Any]
Answers = Mapping[str, tuple[str, Sequence[Feature]]]
"""For a suggested feature, the group that its owner puts it into, and what it is: itself, another, or several."""


def answer(text: str, features: Answers, missing: str | None = None, **keys: Any) -> dict[str, Any]:
    """Answer a suggested schema.

    Args:
        text: The suggestion.
        features: What becomes of those whose lines ask; the others stay.
        missing: What becomes of absent values of users and products.
        **keys: What becomes of keys at its end whose lines ask, such as `score`; None leaves one out.
    """
    schema: dict[str, Any] = yaml.safe_load(text)
    given = [(group, feature) for group in ("user", "product", "context") for feature in schema.get(group, {}).get("features", [])]  # fmt: skip # noqa: E501 - one look
    renamed: dict[str, list[str]] = {}
    for part in schema.values():
        if isinstance(part, dict) and "features" in part:
            part["features"] = []
    for group, feature in given:
        name = feature_name(feature)
        into, answers = features.get(name, (group, [feature]))
        assert name not in features or asks(text, f"    - {feature if isinstance(feature, str) else '{name: ' + name}")
        schema.setdefault(into, {"features": []})["features"] += answers
        renamed[name] = [feature_name(one) for one in answers]
        if len(answers) > 1:
            schema.setdefault("inputs", {})[name] = renamed[name]
    if "columns" in schema:
        schema["columns"] = [new for name in schema["columns"] for new in renamed[name]]
    for name, takes in schema.get("inputs", {}).items():
        if isinstance(takes, list):
            schema["inputs"][name] = [new for one in takes for new in renamed.get(one, [one])]
    if missing is not None:
        assert text.count("  # ? missing: ") == 2
        schema["user"]["missing"] = schema["product"]["missing"] = missing
    for key, value in keys.items():
        assert asks(text, f"{key}:")
        schema[key] = value
    return {key: value for key, value in schema.items() if value is not None}


def feature_name(feature: Feature) -> str:
    return feature if isinstance(feature, str) else str(feature["name"])


def asks(text: str, begins: str) -> bool:
    """Whether the line that begins so asks something."""
    (line,) = [line for line in text.splitlines() if line.split("  #")[0] == begins or line.startswith((f"{begins},", f"{begins} "))]  # fmt: skip # noqa: E501 - one look
    return "  # ? " in line
