"""OpenAPI document: paths, what they take and answer, who may ask, whose it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from ranker.api.error import Error
from ranker.api.explain import ExplainRequest, Explanation
from ranker.api.headers import JSON, MSGPACK, TIMEOUT_HEADER
from ranker.api.predict import PredictRequest, PredictResponse
from ranker.errors import Unauthorized
from ranker.http import statuses
from ranker.http.pages.openapi import examples
from ranker.http.pages.openapi.components import JsonSchema, make_schemas, reference
from ranker.vectors.schema import FeatureSchema

JSON_TYPE, MSGPACK_TYPE = (header[1].decode() for header in (JSON, MSGPACK))
BEARER = "bearer"
DESCRIPTION = """Ranks a user's candidate products, best first.

`POST /predict` takes a user and the products that may be shown, reads their features from Redis, scores each pair
with an ONNX model and answers with the products in order. `POST /explain` takes the same and says why.

Ids that Redis does not know are ranked by the schema's defaults, and named in `missing` and `missingUser`. An answer
for which Redis or the model failed or was late is a 200 with `degraded: true` and a `degradedReason`.

Every error is one JSON object: a sentence, a stable word, and the request's id where it could be read. 429 has
`Retry-After`. `Server-Timing` says where the milliseconds of an answer went; of an error, it has the total alone.
"""
TIMEOUT_PARAMETER = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "description": "Milliseconds the caller will wait; more than RANKER_DEADLINE_MS counts as that.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
}
ANSWER_HEADERS = {
    "X-Ranker-Model": {
        "description": "The tag of the model that ranked; with a canary, the one that this user gets.",
        "schema": {"type": "string"},
    },
    "Server-Timing": {"description": "Milliseconds of each stage.", "schema": {"type": "string"}},
}
ERROR_HEADERS: Mapping[int, tuple[str, str]] = {
    401: ("WWW-Authenticate", "Bearer."),
    415: ("Accept-Post", "The types that are taken, where the type was not; Accept-Encoding, where the encoding."),
    429: ("Retry-After", "Seconds after which to ask again."),
}
"""Status → a header that its answers have, and what it says."""


def make_document(
    schema: FeatureSchema, *, model: str, version: str, needs_token: bool, has_playground: bool
) -> JsonSchema:
    """Return the document.

    Args:
        schema: The model's; requests name its request-time features, and no others.
        model: The model's tag.
        version: Ranker's.
        needs_token: Whether callers must show a token.
        has_playground: Whether `/play` is served.
    """
    refused = _refusals(needs_token)
    paths: dict[str, JsonSchema] = {
        "/predict": {"post": _predict(schema, refused)},
        "/explain": {"post": _explain(schema, model, refused)},
        "/livez": {"get": _read("livez", "Say whether the process is alive", "Health")},
        "/readyz": {"get": _read("readyz", "Say whether it is ready for traffic", "Health", {503: "Not ready"})},
        "/metrics": {"get": _read("metrics", "Give the metrics, as Prometheus reads them", "Monitoring")},
    }
    components: JsonSchema = {"schemas": make_schemas(schema)}
    if needs_token:
        scheme = {"type": "http", "scheme": "bearer", "description": "A token of RANKER_API_TOKEN."}
        components["securitySchemes"] = {BEARER: scheme}
        paths["/metrics"]["get"]["responses"]["401"] = refused["401"]
        for path in ("/predict", "/explain", "/metrics"):
            (operation,) = paths[path].values()
            operation["security"] = [{BEARER: []}]
    play = "\n[Try it with your own ids](./play): what is first, why, and what if.\n" if has_playground else ""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ranker",
            "version": version,
            "summary": "A ranking service: features from Redis, scores from an ONNX model",
            "description": f"{DESCRIPTION}{play}\nServed here: `{model}`.",
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": ".", "description": "This service"}],
        "tags": [
            {"name": "Ranking", "description": "Rank, and say why"},
            {"name": "Health", "description": "For probes; no token is needed"},
            {"name": "Monitoring", "description": "For Prometheus"},
        ],
        "paths": paths,
        "components": components,
    }


def _predict(schema: FeatureSchema, refused: JsonSchema) -> JsonSchema:
    taken = _body(PredictRequest, examples.predict_request(schema))
    answered = _body(PredictResponse, examples.predict_response())
    return {
        "operationId": "predict",
        "summary": "Rank the products for the user, best first",
        **_ranking(taken, "The ranking.", answered, refused),
    }


def _explain(schema: FeatureSchema, model: str, refused: JsonSchema) -> JsonSchema:
    taken = _body(ExplainRequest, examples.explain_request(schema))
    answered = _body(Explanation, examples.explanation(schema, model))
    return {
        "operationId": "explain",
        "summary": "Explain a ranking: where features came from, what each adds to the score",
        **_ranking(taken, "The ranking, explained.", answered, refused),
    }


def _ranking(taken: JsonSchema, description: str, answered: JsonSchema, refused: JsonSchema) -> JsonSchema:
    """Return what an operation that ranks takes and answers."""
    return {
        "tags": ["Ranking"],
        "security": [],
        "parameters": [TIMEOUT_PARAMETER],
        "requestBody": {"required": True, "content": taken},
        "responses": {"200": {"description": description, "headers": ANSWER_HEADERS, "content": answered}, **refused},
    }


def _body(wire_type: type[BaseModel], example: examples.Example) -> JsonSchema:
    """Return both forms of a body; MessagePack has no example, for it is no text."""
    schema = {"schema": reference(wire_type)}
    return {JSON_TYPE: {**schema, "example": example}, MSGPACK_TYPE: schema}


def _refusals(needs_token: bool) -> JsonSchema:
    """Return what an operation that ranks answers with where it does not, by status."""
    shown = {status for status, _ in statuses.list_visible()}
    if not needs_token:
        shown -= {statuses.STATUSES[Unauthorized][0]}
    refused: JsonSchema = {}
    for status, errors in examples.refusals(shown).items():
        refused[str(status)] = {
            "description": ", ".join(errors),
            "headers": {"Server-Timing": {"description": "Milliseconds in all.", "schema": {"type": "string"}}},
            "content": {JSON_TYPE: {"schema": reference(Error), "examples": errors}},
        }
        if status in ERROR_HEADERS:
            name, meaning = ERROR_HEADERS[status]
            refused[str(status)]["headers"][name] = {"description": meaning, "schema": {"type": "string"}}
    return refused


def _read(operation: str, summary: str, tag: str, others: Mapping[int, str] | None = None) -> JsonSchema:
    """Return an operation that answers with text."""
    text: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}}}
    responses: JsonSchema = {"200": {"description": summary, "content": text}}
    responses |= {str(status): {"description": meaning, "content": text} for status, meaning in (others or {}).items()}
    return {"operationId": operation, "summary": summary, "tags": [tag], "security": [], "responses": responses}
