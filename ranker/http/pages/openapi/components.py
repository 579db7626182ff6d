"""OpenAPI components: the wire types as JSON Schema, narrowed to the request-time features that the model takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ranker.api.error import Error
from ranker.api.explain import ExplainRequest, Explanation, Overrides
from ranker.api.predict import PredictRequest, PredictResponse
from ranker.vectors.feature import ContextFeature, Feature, ProductContextFeature
from ranker.vectors.schema import FeatureSchema

JsonSchema = dict[str, Any]
MAX_LISTED = 50
"""Texts of a vocabulary that are shown."""
REQUESTS: tuple[type[BaseModel], ...] = (PredictRequest, ExplainRequest)
ANSWERS: tuple[type[BaseModel], ...] = (PredictResponse, Explanation, Error)


def reference(wire_type: type[BaseModel]) -> JsonSchema:
    """Return what stands for a wire type elsewhere in the document."""
    return {"$ref": f"#/components/schemas/{wire_type.__name__}"}


def make_schemas(schema: FeatureSchema) -> JsonSchema:
    """Return each wire type's JSON Schema by name; requests name the model's request-time features, and no others."""
    taken = [(wire_type, "validation") for wire_type in REQUESTS]
    answered = [(wire_type, "serialization") for wire_type in ANSWERS]
    _, definitions = models_json_schema([*taken, *answered], ref_template="#/components/schemas/{model}")  # type: ignore[list-item]  # the literals
    schemas: JsonSchema = definitions["$defs"]
    for wire_type in REQUESTS:
        _narrow(schemas[wire_type.__name__], schema)
    overrides = schemas[Overrides.__name__]["properties"]
    product = _overridden(schema.product.features)
    overrides["user"]["anyOf"] = [_overridden(schema.user.features), {"type": "null"}]
    overrides["products"]["anyOf"] = [{"type": "object", "additionalProperties": product}, {"type": "null"}]
    for name in (*(wire_type.__name__ for wire_type in REQUESTS), Overrides.__name__):
        for value in schemas[name]["properties"].values():
            value.pop("default", None)  # or clients of openapi-typescript must send it
    for part in _titled(schemas):
        del part["title"]  # pydantic repeats each name as one
    return schemas


def context_of(schema: FeatureSchema) -> list[ContextFeature]:
    """Return the features that a request's `context` brings; others come from its other fields."""
    return [feature for feature in (schema.context.features if schema.context else ()) if feature.source is None]


def product_context_of(schema: FeatureSchema) -> list[ProductContextFeature]:
    """Return the features that a request's `productContext` brings."""
    return [*(schema.product_context.features if schema.product_context else ())]


def _narrow(request: JsonSchema, schema: FeatureSchema) -> None:
    properties = request["properties"]
    request.pop("additionalProperties", None)  # more is ignored; generated clients would carry it about
    for name in properties.keys() - set(request["required"]):
        _allow_null(properties[name])  # which is absent, of everything that may be
    features: Sequence[ProductContextFeature]
    for field, features in (("context", context_of(schema)), ("productContext", product_context_of(schema))):
        values = {feature.name: _value(feature) for feature in features}
        if field == "productContext":
            values = {name: {"type": "array", "items": value} for name, value in values.items()}
        described: JsonSchema = {"type": "object", "properties": values, "additionalProperties": False}
        needed = [feature.name for feature in features if feature.missing == "refuse"]
        if needed:
            described["required"] = needed
            request["required"].append(field)
        properties[field]["anyOf"] = [described] if needed else [described, {"type": "null"}]


def _overridden(features: Sequence[Feature]) -> JsonSchema:
    """Return which values may stand in place of stored ones: those that are no plain numbers by name."""
    typed = {f.name: {"anyOf": [_typed(f), {"type": "null"}]} for f in features if not f.is_plain}
    others: JsonSchema = {"type": "object", "additionalProperties": {"type": ["number", "boolean", "null"]}}
    return {**others, "properties": typed} if typed else others


def _allow_null(value: JsonSchema) -> None:
    """Let a value be null, in the way in which its schema says what it is."""
    if "type" in value:
        value["type"] = [value["type"], "null"]
    elif {"type": "null"} not in value["anyOf"]:
        value["anyOf"].append({"type": "null"})


def _value(feature: ProductContextFeature) -> JsonSchema:
    if not feature.is_plain:
        return _typed(feature)
    if not feature.is_category:
        null = [] if feature.missing == "refuse" else ["null"]
        return {"type": ["number", "boolean", *null], **_bounds(feature)}
    # No enum: a category that is not known takes the default.
    known = [*(feature.categories or {})]
    if isinstance(feature, ContextFeature):
        known += (f"{prefix}…" for prefix in feature.prefixes or {})
    return {"type": ["string", "null"], "description": f"Known: {', '.join(known)}."}


def _typed(feature: Feature) -> JsonSchema:
    """Return what a value is that is no plain number; `unknown` categories are taken, too."""
    kinds: dict[str, JsonSchema] = {
        "bool": {"type": ["boolean", "integer"], "minimum": 0, "maximum": 1},
        "category": {"type": ["string", "integer"]},
        "product": {"type": ["string", "integer"], "pattern": "^[+-]?[0-9]+$"},
        "text": {"type": "string"},
    }
    usual: JsonSchema = {"type": ["integer" if feature.kind.whole else "number", "boolean"], **_bounds(feature)}
    value = kinds.get(feature.type, usual)
    if feature.missing == "nan" and feature.shape:
        value = {**value, "type": [*value["type"], "null"]}
    if feature.vocabulary is not None:
        value = {**value, "description": f"Known: {', '.join(feature.vocabulary[:MAX_LISTED])}."}
    for size in reversed(feature.shape):
        value = {"type": "array", "items": value, "minItems": size, "maxItems": size}
    if feature.is_sequence:
        value = {"type": "array", "items": value, "description": f"The first {feature.length} count."}
    return value if feature.missing == "refuse" else {"anyOf": [value, {"type": "null"}]}


def _bounds(feature: Feature) -> JsonSchema:
    """Return the bounds of a number, or of each element: the schema's, where it has one for all, and the type's."""
    least, largest = (-math.inf, math.inf) if feature.type == "float32" else feature.kind.limits
    if isinstance(feature.min, int | float):
        least = max(least, feature.min)
    if isinstance(feature.max, int | float):
        largest = min(largest, feature.max)
    bounds = {"minimum": least, "maximum": largest}
    return {name: bound for name, bound in bounds.items() if math.isfinite(bound)}


def _titled(part: Any) -> Iterator[JsonSchema]:
    """Yield every schema that has a title; a property that is called `title` is none."""
    if isinstance(part, dict):
        if isinstance(part.get("title"), str):
            yield part
        for inner in part.values():
            yield from _titled(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _titled(inner)
