"""Metadata of a model: its schema as plain data, which stays what it was for schemas that say no more than before.

Owns what is left out because it says nothing. Knows nothing of where models are stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ranker.vectors.group import NAMED_FIELDS, EntitySchema, FeatureGroup
from ranker.vectors.keyed_group import RESERVED


def shorten(data: dict[str, Any], groups: Mapping[str, FeatureGroup]) -> dict[str, Any]:
    """Leave out of a schema's plain data what its groups do not say; the data is changed, and returned."""
    for name, group in groups.items():
        dumped = in_metadata(data, name)
        if isinstance(group, EntitySchema):
            if group.format == "ranker":  # as models were stored before there were other formats
                del dumped["format"]
            elif group.format in NAMED_FIELDS:  # where nothing stands in for a field without a default
                for feature, column in zip(group.features, dumped["features"], strict=True):
                    if not feature.may_lack and "default" not in feature.model_fields_set:
                        column.pop("default", None)
        for feature, column in zip(group.features, dumped["features"], strict=True):
            if feature.missing == "nan":  # says it all, and JSON has no NaN
                column.pop("default", None)
            if feature.is_plain:  # as features were stored before there were types
                del column["type"], column["shape"]
            elif "default" not in feature.model_fields_set:
                column.pop("default", None)
    return data


def in_metadata(data: dict[str, Any], group: str) -> dict[str, Any]:
    """Return what a schema's plain data says of a group."""
    found: dict[str, Any] = data[group] if group in RESERVED else data["groups"][group]
    return found
