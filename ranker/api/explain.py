"""Wire types of `/explain`: the request, beside what `/predict` takes, and the answer.

Owns their JSON schemas and limits. Knows nothing of HTTP statuses, Redis or the model.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from ranker.api.predict import MAX_NAMES, PredictRequest

Limit = Literal["products", "rows", "deadline", "scores", "together"]
"""Reason for products without contributions: they are too many, have too many features; no time, no score; or the model
scores lists, so that no score is a product's own."""

_VALUES: dict[str, Any] = {"type": "object", "additionalProperties": {"type": ["number", "boolean", "null"]}}
_VALUES_OF_PRODUCTS: dict[str, Any] = {"type": "object", "additionalProperties": _VALUES}


def _or_null(described: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [described, {"type": "null"}]}


_Features = Annotated[dict[str, Any], Field(max_length=MAX_NAMES)]

Numbers = dict[str, float | None]
"""By feature name; null where a number is not finite."""
Values = dict[str, int | float | bool | str | list[Any] | None]
"""By feature name: numbers, and what else a feature's type has, as requests have it; null where one is not finite."""


class Overrides(BaseModel):
    """Features to take in place of stored ones, for this answer alone; null stands for the schema's default."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", use_attribute_docstrings=True)

    user: Annotated[_Features | None, WithJsonSchema(_or_null(_VALUES))] = None
    """The user's, by name."""
    products: Annotated[
        Annotated[dict[str, _Features], Field(fail_fast=True)] | None,
        WithJsonSchema({"anyOf": [_VALUES_OF_PRODUCTS, {"type": "null"}]}),
    ] = None
    """Products', by id and name; each of them is one of productIds."""

    @model_validator(mode="before")
    @classmethod
    def _nothing_else(cls, data: Any) -> Any:
        """Name the first of what else there is; `extra="forbid"` makes an error of each."""
        if isinstance(data, dict):
            for name in data:
                if name not in cls.model_fields:
                    raise PydanticCustomError(
                        "extra_forbidden", "{name} is neither user nor products", {"name": repr(name[:40])}
                    )
        return data


class ExplainRequest(PredictRequest):
    """A request of `/predict`, and what to assume."""

    overrides: Overrides | None = None
    """Features to take in place of stored ones; Redis is not changed. For request-time features, use context."""


class Vector(BaseModel):
    """One stored vector, as it was scored."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    source: Literal["cache", "redis", "default"]
    """Origin of the vector."""
    reason: Literal["missing", "wrong_schema", "corrupt", "unavailable", "no_user_id", "no_user_features"] | None
    """Reason for the default, where it was taken."""
    features: Values | None
    """Its values, overrides included; null for products beyond those that are explained."""


class GroupVector(BaseModel):
    """What a group under keys of its own holds, as it was scored."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    source: Literal["stored", "default"]
    """Origin of the vector."""
    reason: Literal["missing", "wrong_schema", "corrupt", "unavailable"] | None
    """Reason for the default, where it was taken."""
    features: Values | None
    """Its values; null for products beyond those that are explained."""


class Contributions(BaseModel):
    """The score less the score with one feature at the schema's default, by group and name."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    user: Numbers
    product: Numbers
    context: Numbers
    productContext: Numbers
    groups: dict[str, Numbers]
    """Contributions of groups under keys of their own."""


class ExplainedUser(Vector):
    """The user that was ranked for."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str | None
    """As requested; null for nobody, who has the schema's defaults."""


class ExplainedProduct(Vector):
    """One product of the ranking."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    rank: int
    """From 1."""
    score: float | None
    """As `/predict` gives it."""
    outputs: Numbers | None = None
    """What the graph's outputs gave for it, by name; absent where the score is the only one."""
    productContext: Values | None
    """Features that the request brought for it."""
    groups: dict[str, GroupVector]
    """Its groups under keys of their own, by name."""
    contributions: Contributions | None
    """Contribution of each feature to the score; null where limitedBy says why."""


class Explanation(BaseModel):
    """Explanation of a ranking: why the products stand as they do."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    requestId: str
    model: str
    """The model's tag."""
    fingerprint: str
    """Fingerprint of its schema, in hexadecimal."""
    user: ExplainedUser
    context: Values
    """Features that the request brought for all products."""
    groups: dict[str, GroupVector]
    """Groups under keys of their own that are the same for all products, by name."""
    products: list[ExplainedProduct]
    """The ranking, best first, as `/predict` gives it."""
    explained: int
    """How many products, from the first, have contributions."""
    limitedBy: Limit | None
    """Reason why not all have: there are more products than are explained, their features need more rows than are
    scored, there was no more time, there are no scores, or the model scores lists as a whole."""
    missing: list[str]
    missingUser: bool
    degraded: bool
    degradedReason: str | None
    failure: str | None
    """Error of Redis, the runner or the model, where a part of this is a substitute or could not be had."""
    timings: dict[str, float]
    """Milliseconds of each stage, as in Server-Timing; explain is what came on top of total."""
