"""Wire types of `/predict` and their limits: bytes to a checked request, an answer to bytes.

Owns the JSON both ways. Knows nothing of HTTP statuses, Redis or the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar
from uuid import uuid4

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import to_json

from ranker.api import structure
from ranker.api.spelling import Spelled, misspelt, other_user
from ranker.api.structure import has_more
from ranker.errors import DuplicateProducts, EmptyBody, InvalidJson, InvalidRequest, RequestError, TooManyProducts
from ranker.vectors.rows import MAX_ID_LENGTH, Scores

MAX_NAMES = 1000
"""Features that a request may bring for itself, and again for its products."""
PARTS_PER_PRODUCT, VALUES_PER_PRODUCT = 10, 50
"""Limits of a body: on arrays, objects and names; and on values. So many for each product that may be asked for, and
for each of `MAX_NAMES`. 20,000 of the former, or 100,000 of the latter, take 10 ms to parse and to refuse."""

_TEXT = {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH}
Id = Annotated[
    str,
    Field(min_length=1, max_length=MAX_ID_LENGTH),
    WithJsonSchema({"anyOf": [_TEXT, {"type": "integer"}]}, mode="validation"),
]

_VALUE: dict[str, Any] = {"type": ["number", "boolean", "string", "null"]}


def _object_of(values: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"type": "object", "additionalProperties": values}, {"type": "null"}]}


class PredictRequest(BaseModel):
    """A user and the candidate products to rank for them."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        # pydantic keeps 16,384 strings to hand out again; to find one there costs more than to make it.
        cache_strings="none",
        extra="allow",  # to see which are nearly a field; the rest is ignored
        use_attribute_docstrings=True,
    )

    requestId: Annotated[
        Id,
        Field(default_factory=lambda: uuid4().hex),
        WithJsonSchema({"anyOf": [{**_TEXT, "minLength": 0}, {"type": "integer"}]}, mode="validation"),
    ]
    """Echoed in the answer, so that callers can match the two; made up where it is absent or empty. Of an id that is an
    integer, the decimal text is taken, here and below."""
    userId: Id | None = None
    """User to rank for; null or absent for an unknown user, whose features are the schema's defaults."""
    productIds: Annotated[list[Id], Field(min_length=1, fail_fast=True)]
    """The candidates, each once; ties in score keep this order."""
    zipCode: Annotated[str, Field(max_length=64)] = ""
    """Echoed in the answer; a model may also map it to a feature."""
    topK: Annotated[int, Field(ge=1)] | None = None
    """Number of products to return; all of them when null."""
    context: Annotated[
        Annotated[dict[str, Any], Field(max_length=MAX_NAMES)] | None, WithJsonSchema(_object_of(_VALUE))
    ] = None
    """Features of this request by name, such as the hour or the device: numbers, booleans, and the categories that the
    model's schema maps to numbers. What is absent or null takes the schema's default; unknown names are refused."""
    productContext: Annotated[
        Annotated[dict[str, list[Any]], Field(max_length=MAX_NAMES, fail_fast=True)] | None,
        WithJsonSchema(_object_of({"type": "array", "items": _VALUE})),
    ] = None
    """Features of the products in this request by name, such as a live price: each one value per product, in the order
    of productIds."""


class PredictResponse(BaseModel):
    """The products, best first."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    requestId: str
    ranking: list[str]
    """Product ids, best first."""
    scores: list[float | None]
    """The model's scores, aligned with ranking; null where the model gave none (NaN, or degraded scoring), and
    ±3.4028235e38, the largest float32, where it gave infinity."""
    zipCode: str
    missing: list[str]
    """Products of the request that have no usable features, in request order."""
    missingUser: bool
    """True when the user has no usable features; false where userId is null."""
    degraded: bool
    """True when the answer is, or rests on, a substitute; degradedReason says for what."""
    degradedReason: str | None
    """features_unavailable, features_late, no_features, scores_unavailable or scores_late; null for a full answer."""


AnyRequest = TypeVar("AnyRequest", bound=PredictRequest)


def parse(body: bytes, max_products: int) -> PredictRequest:
    """Check the body of a request to rank; raises as `parse_as`."""
    return parse_as(PredictRequest, body, max_products)


def parse_as(request_type: type[AnyRequest], body: bytes, max_products: int) -> AnyRequest:
    """Check a request body, in a time that its length bounds.

    What is in it is counted before anything is made of it, and a list or object is looked at up to its first error.

    Raises:
        EmptyBody, InvalidJson, InvalidRequest, DuplicateProducts, TooManyProducts: with `request_id` set where the
            body had a readable one.
    """
    if not body:
        raise EmptyBody
    most = max_products + MAX_NAMES
    max_parts, max_values = PARTS_PER_PRODUCT * most, VALUES_PER_PRODUCT * most
    if has_more(body, structure.PARTS, max_parts):
        raise InvalidRequest([f"body: Input should have at most {max_parts} arrays, objects and names"])
    if has_more(body, structure.VALUES, max_values):
        raise InvalidRequest([f"body: Input should have at most {max_values} values"])
    try:
        request = request_type.model_validate_json(body)
    except ValidationError as err:
        request = _parse_respelled(request_type, body, max_products, err)
    return check_limits(request, max_products)


def check_fields(request_type: type[AnyRequest], fields: Mapping[str, Any], max_products: int) -> AnyRequest:
    """Check a request that is no bytes any more; raises as `parse_as`."""
    return parse_as(request_type, to_json(fields), max_products)


def check_limits(request: AnyRequest, max_products: int) -> AnyRequest:
    """Apply the limits that the types cannot express.

    Raises:
        InvalidRequest, DuplicateProducts, TooManyProducts: with `request_id` set.
    """
    ids, others = request.productIds, request.__pydantic_extra__
    failure: RequestError | None = None
    if others and (problems := _wrong_names(request, others)):
        failure = InvalidRequest(problems)
    elif len(ids) > max_products:
        failure = TooManyProducts(len(ids), max_products)
    elif len(set(ids)) != len(ids):
        failure = DuplicateProducts([i for i, count in Counter(ids).items() if count > 1])
    if failure is None:
        if others:
            others.clear()  # nobody needs them while the request is answered
        return request
    failure.request_id = request.requestId
    raise failure


def _wrong_names(request: PredictRequest, others: Mapping[str, Any]) -> list[str]:
    """Say which names are no fields, but seem meant for one."""
    problems = misspelt(others, type(request).model_fields)
    return problems if "userId" in request.model_fields_set else problems or other_user(others)


def render(
    request: PredictRequest,
    ranking: Sequence[str],
    scores: Scores,
    missing: Sequence[str],
    missing_user: bool,
    degraded_reason: str | None,
) -> bytes:
    """Return the JSON body of an answer; `scores` has shape (len(ranking),), float32, NaN for none, no infinities."""
    return orjson.dumps(
        {
            "requestId": request.requestId,
            "ranking": ranking,
            "scores": scores,
            "zipCode": request.zipCode,
            "missing": missing,
            "missingUser": missing_user,
            "degraded": degraded_reason is not None,
            "degradedReason": degraded_reason,
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def _parse_respelled(
    request_type: type[AnyRequest], body: bytes, max_products: int, err: ValidationError
) -> AnyRequest:
    """Check a body once more that was refused, in the spelling that the types take; raises as `parse_as`."""
    spelled = Spelled(body)
    if spelled.product_count > max_products:
        failure: RequestError = TooManyProducts(spelled.product_count, max_products)
    else:
        if spelled.changed:
            try:
                return request_type.model_validate_json(spelled.body)
            except ValidationError as again:
                err = again
        fields = request_type.model_fields
        failure = _from_validation(err, misspelt((name for name in spelled.fields if name not in fields), fields))
    failure.request_id = spelled.request_id
    raise failure from None


def _from_validation(err: ValidationError, misspelt_names: Sequence[str]) -> RequestError:
    errors = err.errors(include_url=False, include_context=False, include_input=False)
    if errors[0]["type"] == "json_invalid":
        return InvalidJson(errors[0]["msg"].removeprefix("Invalid JSON: "))
    return InvalidRequest([*misspelt_names, *(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in errors)])
