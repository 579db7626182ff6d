"""OpenAPI examples: requests that a served model takes, answers as they look, and an error of every kind."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from ranker import errors
from ranker.http.pages.openapi.components import context_of, product_context_of
from ranker.http.statuses import INTERNAL, INTERNAL_SENTENCE, STATUSES
from ranker.vectors.feature import Feature
from ranker.vectors.feature.bounds import Bounds
from ranker.vectors.feature.shown import show
from ranker.vectors.feature.values import default_columns
from ranker.vectors.group import EntitySchema
from ranker.vectors.schema import FeatureSchema

Example = dict[str, Any]
USER, PRODUCTS = "u001", [str(i) for i in range(10)]
"""Ids of the example shop; another has others, and ranks these by defaults."""
SCORES = (0.8721, 0.5434, 0.1269)
REFUSALS: tuple[errors.RankerError, ...] = (
    errors.EmptyBody(),
    errors.InvalidJson("expected value at line 1 column 1"),
    errors.InvalidRequest(["productIds: Field required"]),
    errors.DuplicateProducts(["7"]),
    errors.TooManyProducts(1200, 1000),
    errors.InvalidTimeout("soon"),
    errors.InvalidCoding("gzip", "incorrect header check"),
    errors.InvalidMsgpack("unpack(b) received extra data"),
    errors.Unauthorized(),
    errors.UnknownUser("u999"),
    errors.SlowBody(10),
    errors.BodyTooLarge(1 << 20),
    errors.UnsupportedType("text/html"),
    errors.UnsupportedCoding("br"),
    errors.Overloaded(9000),
    errors.StoreUnavailable("Connection refused"),
    errors.RunnerUnavailable("Connection refused"),
    errors.ModelFailed(100, "out of memory"),
    errors.DeadlineExceeded("fetch", 250),
)
"""Each that a caller of an endpoint may see, with its own sentence."""


def predict_request(schema: FeatureSchema) -> Example:
    """Return a request that a service with this schema answers."""
    request: Example = {"requestId": "r1", "userId": USER, "productIds": PRODUCTS, "topK": 3}
    if once := context_of(schema):
        request["context"] = {feature.name: _value(feature) for feature in once}
    if each := product_context_of(schema):
        request["productContext"] = {feature.name: [_value(feature)] * len(PRODUCTS) for feature in each}
    return request


def explain_request(schema: FeatureSchema) -> Example:
    """Return the same, with a feature of a product overridden."""
    changed = schema.product.features[0]
    overrides = {"user": {}, "products": {PRODUCTS[0]: {changed.name: _value(changed)}}}
    return predict_request(schema) | {"overrides": overrides}


def predict_response() -> Example:
    """Return an answer to `predict_request`."""
    ranking = ["3", "0", "7"]
    return {
        "requestId": "r1",
        "ranking": ranking,
        "scores": [*SCORES],
        "zipCode": "",
        **_STATE,
    }


def explanation(schema: FeatureSchema, model: str) -> Example:
    """Return an answer to `explain_request`, cut to its first product."""
    context = {feature.name: 0.0 for feature in (schema.context.features if schema.context else ())}
    product_context = {feature.name: 0.0 for feature in product_context_of(schema)}
    product, user = _vector(schema.product), _vector(schema.user)
    added = {"user": user, "product": product, "context": context, "productContext": product_context, "groups": {}}
    first = {
        "id": "3",
        "rank": 1,
        "score": SCORES[0],
        "source": "cache",
        "reason": None,
        "features": product,
        "productContext": product_context,
        "groups": {},
        "contributions": added,
    }
    return {
        "requestId": "r1",
        "model": model,
        "fingerprint": f"{schema.fingerprint:08x}",
        "user": {"id": USER, "source": "redis", "reason": None, "features": user},
        "context": context,
        "groups": {},
        "products": [first],
        "explained": 1,
        "limitedBy": None,
        **_STATE,
        "failure": None,
        "timings": {"fetch": 0.41, "assemble": 0.03, "score": 0.52, "total": 1.12, "explain": 4.2},
    }


def refusals(statuses: AbstractSet[int]) -> dict[int, dict[str, Example]]:
    """Return, for each status, the errors that have it, by their types."""
    refused = [(*STATUSES[type(err)], str(err)) for err in REFUSALS] + [(*INTERNAL, INTERNAL_SENTENCE)]
    by_status: dict[int, dict[str, Example]] = {status: {} for status in sorted(statuses)}
    for status, error_type, sentence in refused:
        if status not in by_status:
            continue
        by_status[status][error_type] = {"value": {"error": sentence, "error_type": error_type, "requestId": None}}
    return by_status


_STATE: Example = {"missing": [], "missingUser": False, "degraded": False, "degradedReason": None}
"""Of an answer that nothing lacks."""


def _value(feature: Feature) -> Any:
    if not feature.is_plain:
        return show(feature, default_columns(feature))
    texts = getattr(feature, "categories", None) or getattr(feature, "prefixes", None)
    if texts:
        return next(iter(texts))
    bounds = Bounds((feature,), {feature.name: slice(0, 1)})
    return feature.default if bounds.find_beyond(np.ones((1, 1), np.float32))[0] else 1.0


def _vector(group: EntitySchema) -> dict[str, float]:
    """Return values for the first features of a group; an example need not have all of a thousand."""
    return {name: round(0.25 * (position + 1), 2) for position, name in enumerate(group.names[:3])}
