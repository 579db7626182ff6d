"""OpenAPI specification: BentoML's, corrected where `/predict` and `/explain` take or answer more than it knows."""

from __future__ import annotations

from typing import Any

import attrs  # comes with BentoML
from pydantic import BaseModel

from ranker.api.error import ErrorBody
from ranker.api.explain import ExplainRequest, ExplainResponse
from ranker.api.headers import TIMEOUT_HEADER
from ranker.api.predict import PredictRequest, PredictResponse
from ranker.http.statuses import answered as answered_statuses
from ranker.settings.environment import Settings
from ranker.vectors.feature import ContextFeature, ProductContextFeature
from ranker.vectors.schema import FeatureSchema

TIMEOUT_PARAMETER = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "description": "Milliseconds the caller will wait; more than RANKER_DEADLINE_MS counts as that.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
}
BODIES: dict[str, tuple[type[BaseModel], type[BaseModel]]] = {
    "/predict": (PredictRequest, PredictResponse),
    "/explain": (ExplainRequest, ExplainResponse),
}
"""Path → what is taken and what is answered."""
MODEL_HEADER = {
    "description": "The tag of the model that ranked; with a canary, the one that this user gets.",
    "schema": {"type": "string"},
}
DESCRIPTION = """Ranks a user's candidate products, best first: features from Redis, scores from an ONNX model."""
BEARER = {"type": "http", "scheme": "bearer", "description": "RANKER_API_TOKEN; health checks need none."}


def correct(specification: Any, schema: FeatureSchema, settings: Settings, version: str) -> Any:
    """Return BentoML's specification with what each path really takes and answers, and whose it is.

    Args:
        specification: BentoML's; its parts are changed in place.
        schema: The model's; requests name its request-time features, and no others.
        settings: Say whether callers must show a token.
        version: Ranker's.
    """
    components = specification.components
    components["schemas"]["ErrorBody"] = ErrorBody.model_json_schema()
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
    by_status: dict[int, list[str]] = {}
    for status, error_type in answered_statuses():
        by_status.setdefault(status, []).append(error_type)
    for path, (taken, answered) in BODIES.items():
        operation = specification.paths[path].post
        for status, error_types in by_status.items():
            operation["responses"][status] = {"description": ", ".join(dict.fromkeys(error_types)), "content": content}
        operation["responses"][200].setdefault("headers", {})["X-Ranker-Model"] = MODEL_HEADER
        _allow_null(taken, operation["requestBody"])
        _allow_null(answered, operation["responses"][200])
        operation["parameters"] = [*operation.get("parameters", []), TIMEOUT_PARAMETER]
        if settings.api_token is not None:
            components["securitySchemes"] = {"token": BEARER}
            operation["security"] = [{"token": []}]
    # BentoML's has the address of its makers, and where a service says no word, their pictures.
    info = attrs.evolve(specification.info, title="Ranker", version=version, description=DESCRIPTION, contact=None)
    return _with_context(attrs.evolve(specification, info=info), schema)


def _with_context(specification: Any, schema: FeatureSchema) -> Any:
    """Return a specification that names the request-time features which the model takes, and allows no others."""
    once = schema.context.features if schema.context else ()
    each = schema.product_context.features if schema.product_context else ()
    taken = {
        "context": {feature.name: _value(feature) for feature in once if feature.source is None},
        "productContext": {feature.name: {"type": "array", "items": _value(feature)} for feature in each},
    }
    for path in BODIES:
        declared = specification.paths[path].post["requestBody"]["content"]["application/json"].schema.properties
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


def _allow_null(wire_type: type[BaseModel], body: Any) -> None:
    """Say which properties may be null; BentoML takes the first type of a union, and leaves that out."""
    properties = body["content"]["application/json"].schema.properties
    for name, field in wire_type.model_json_schema()["properties"].items():
        if {"type": "null"} in field.get("anyOf", ()):
            properties[name]["nullable"] = True
