"""BentoML's OpenAPI specification, corrected where `/predict` answers otherwise than BentoML would."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ranker.api import ErrorBody
from ranker.columns import ContextFeature, ProductContextFeature
from ranker.schema import FeatureSchema


def with_errors(specification: Any, statuses: Iterable[tuple[int, str]]) -> Any:
    """Return BentoML's specification with each (status, error_type) that `/predict` may answer."""
    specification.components["schemas"]["ErrorBody"] = ErrorBody.model_json_schema()
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
    by_status: dict[int, list[str]] = {}
    for status, error_type in statuses:
        by_status.setdefault(status, []).append(error_type)
    responses = specification.paths["/predict"].post["responses"]
    for status, error_types in by_status.items():
        responses[status] = {"description": ", ".join(dict.fromkeys(error_types)), "content": content}
    return specification


def with_context(specification: Any, schema: FeatureSchema) -> Any:
    """Return a specification that names the request-time features which the model takes, and allows no others."""
    once = schema.context.features if schema.context else ()
    each = schema.product_context.features if schema.product_context else ()
    taken = {
        "context": {feature.name: _value(feature) for feature in once if feature.source is None},
        "productContext": {feature.name: {"type": "array", "items": _value(feature)} for feature in each},
    }
    declared = specification.paths["/predict"].post["requestBody"]["content"]["application/json"].schema.properties
    for field, properties in taken.items():
        declared[field] |= {"properties": properties, "additionalProperties": False}
    return specification


def _value(feature: ProductContextFeature) -> dict[str, Any]:
    if not feature.is_category:
        return {"anyOf": [{"type": "number"}, {"type": "boolean"}], "nullable": True}
    # No enum: a category that is not known takes the default.
    known = [*(feature.categories or {})]
    if isinstance(feature, ContextFeature):
        known += (f"{prefix}…" for prefix in feature.prefixes or {})
    return {"type": "string", "nullable": True, "description": f"Known: {', '.join(known)}."}
