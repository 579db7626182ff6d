"""Feature schema, the contract a model carries: names, order, defaults, key templates, formats, fingerprint.

Owns what a stored vector means, and what a request brings beside it. Knows nothing of Redis, ONNX or HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ranker.errors import InvalidSchema
from ranker.vectors.feature import ContextFeature, Feature
from ranker.vectors.feature.unquoted import require_text_keys
from ranker.vectors.fingerprint import make_fingerprint
from ranker.vectors.group import (
    NAMED_FIELDS,
    ContextSchema,
    EntitySchema,
    FeatureGroup,
    ProductContextSchema,
    ProductSchema,
    UserSchema,
)
from ranker.vectors.input_source import InputSource, SourceName
from ranker.vectors.keyed_group import KeyedGroup, KeyedGroups, find_key_problems
from ranker.vectors.keys.feast import FeastView
from ranker.vectors.older import OlderSchema, OlderVectors, find_problems
from ranker.vectors.schema_metadata import shorten
from ranker.vectors.schema_problems import describe_problems
from ranker.vectors.side_information import SideInformation, find_side_information


def make_no_user() -> UserSchema:
    """Return what a schema has without `user:`: no features."""
    return UserSchema.model_construct(features=())


class FeatureSchema(BaseModel):
    """All columns of a model's matrix: the stored vectors' first, then what the request brings.

    A row is the user's features, the product's, the context's, those of groups per user and of side information, the
    product context's and those of groups per product, in this order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: Annotated[UserSchema, Field(default_factory=make_no_user)]
    """The user's; without features where the schema has none, and then nothing is read for users."""
    product: ProductSchema
    context: ContextSchema | None = None
    product_context: Annotated[ProductContextSchema | None, Field(alias="productContext")] = None
    keyed: Annotated[KeyedGroups, Field(alias="groups")] = {}
    """Groups under keys of their own."""
    inputs: Annotated[dict[str, InputSource] | None, BeforeValidator(require_text_keys)] = None
    """What the graph's inputs take; one that is left out takes the feature or the group of its name."""
    columns: Annotated[tuple[SourceName, ...], Field(min_length=1)] | None = None
    """Features in the order of the training matrix, for a graph with one input whose order is not the groups'."""
    older: tuple[OlderSchema, ...] = ()
    """Schemas whose stored vectors are still read: what they lack of today's features takes its default."""
    output: Annotated[str, Field(min_length=1)] | None = None
    """The output that is the score, or `output[class or column]` of one, where there is a choice."""
    score: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    """The score as an expression over outputs of the graph and features, in place of `output`."""
    rows: Literal["independent", "together"] = "independent"
    """Whether a row's score is its own, or that of a product in its list: then each request is one call."""

    @model_validator(mode="after")
    def _reads_older_vectors(self) -> Self:
        if not self.older:
            return self
        for older in self.older:
            for name, now, was in (("user", self.user, older.user), ("product", self.product, older.product)):
                if problem := next(find_problems(now, was), None) if was is not None else None:
                    raise ValueError(f"vectors of an `older` schema cannot be read: {name} {problem}")
        prints = [self.fingerprint, *(one.fingerprint for one in self.older_vectors("user"))]
        if len(set(prints)) < len(prints):
            raise ValueError("an `older` schema stands there twice, or is no other than this one: leave it out")
        return self

    @model_validator(mode="after")
    def _can_make_keys(self) -> Self:
        for name, group in self.keyed.items():
            if problem := next(find_key_problems(group, self.user, self.product, self.context), None):
                raise ValueError(f"groups.{name}.key: {problem}")
        _ = self.side_information  # which raises where there is none
        return self

    @cached_property
    def side_information(self) -> Mapping[str, SideInformation]:
        """What `inputs:` and `columns:` ask for of the products in histories, by history."""
        return find_side_information(self.described_groups, self.inputs, self.columns)

    @property
    def reads_more(self) -> bool:
        """Whether rows are looked up beside those of a request's user and products."""
        return bool(self.keyed or self.side_information)

    @cached_property
    def described_groups(self) -> Mapping[str, FeatureGroup]:
        """The groups that the schema describes: all but histories' side information."""
        parts: dict[str, FeatureGroup | None] = {
            "user": self.user if self.has_user else None,
            "product": self.product,
            "context": self.context,
            **{name: group for name, group in self.keyed.items() if group.is_request_side},
            "productContext": self.product_context,
            **self.keyed,
        }
        return {name: group for name, group in parts.items() if group is not None}

    @cached_property
    def groups(self) -> Mapping[str, FeatureGroup]:
        """The groups that the schema has, by name, in the order of their columns."""
        described, once = self.described_groups, {"product", *self.request_side}
        return {**{name: described[name] for name in described if name in once}, **self.side_information, **described}

    @cached_property
    def entities(self) -> Mapping[str, EntitySchema]:
        """What is stored: users, products, and the groups under keys of their own, by name."""
        return {**({"user": self.user} if self.has_user else {}), "product": self.product, **self.keyed}

    @cached_property
    def has_user(self) -> bool:
        """Whether users have features under a key of their own."""
        return bool(self.user.features)

    @cached_property
    def request_side(self) -> frozenset[str]:
        """Groups whose values are the same for all products of a request."""
        per_user = [name for name, group in self.keyed.items() if group.is_request_side]
        return frozenset(("user", "context", *per_user, *self.side_information))

    @cached_property
    def once_width(self) -> int:
        """The columns behind the stored ones that are the same in all rows of a request; those of pairs follow."""
        behind = [name for name in self.groups if name in self.request_side and name != "user"]
        return sum(self.groups[name].width for name in behind)

    def columns_of(self, name: str) -> list[tuple[Feature, slice]]:
        """Return a group's features, each with its columns among the F of a matrix."""
        first = 0
        for other, group in self.groups.items():
            if other == name:
                ends = [(f, first + group.slices[f.name].stop) for f in group.features]
                return [(f, slice(end - f.width, end)) for f, end in ends]
            first += group.width
        raise KeyError(name)

    @cached_property
    def stored_width(self) -> int:
        """The number of columns that come from stored vectors; the request brings those behind them."""
        return self.user.width + self.product.width

    @cached_property
    def width(self) -> int:
        """F, the number of columns of a matrix."""
        return sum(group.width for group in self.groups.values())

    @cached_property
    def defaults(self) -> npt.NDArray[np.float32]:
        """The default row, shape (F,), float32, read-only."""
        row = np.concatenate([group.defaults for group in self.groups.values()])
        row.flags.writeable = False
        return row

    @cached_property
    def fingerprint(self) -> int:
        """A u32 that every stored vector carries: equal when the names, their order and their types are.

        Defaults, key templates, formats and what a request brings are left out, for changing those does not change
        what stored bytes mean. It is the first four bytes (little-endian) of BLAKE2s over the length-prefixed UTF-8
        names, user's first; where a feature is no plain float32, these are followed by the type, shape, length and
        vocabulary of each feature of both.
        """
        return make_fingerprint(self.user.features, self.product.features)

    def fingerprint_of(self, entity: EntitySchema) -> int:
        """Return what the stored vectors of one of the entities carry: a group's own is made in the same way."""
        return make_fingerprint(entity.features) if isinstance(entity, KeyedGroup) else self.fingerprint

    def older_vectors(self, name: str) -> tuple[OlderVectors, ...]:
        """Return what else the vectors of an entity may be; those of a group nothing."""
        if name in self.keyed:
            return ()
        found = []
        for older in self.older:
            was = {"user": older.user or self.user, "product": older.product or self.product}
            found.append(OlderVectors(make_fingerprint(was["user"].features, was["product"].features), was[name]))
        return tuple(found)

    def shared_keys(self, other: FeatureSchema) -> str | None:
        """Say why two models cannot be served side by side: vectors under the same keys that are not the same features.

        Fields of a hash, or of a JSON object, are read by their names, so two models may share those.
        """
        pairs: list[tuple[str, EntitySchema, EntitySchema]] = [("product", self.product, other.product)]
        if self.has_user and other.has_user:
            pairs.insert(0, ("user", self.user, other.user))
        pairs += [(name, mine, its) for name, mine in self.keyed.items() for its in other.keyed.values()]
        for name, mine, its in pairs:
            named = mine.format == its.format and mine.format in NAMED_FIELDS
            if mine.key == its.key and not named and (mine.meaning, mine.format) != (its.meaning, its.format):
                return (
                    f"it reads other {name} features under the same keys {mine.key}. Give it key templates of its own."
                )
        return None

    def to_metadata(self) -> dict[str, Any]:
        """Plain data for a model's metadata or a YAML file; `from_mapping` reads it back."""
        data = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"older"})
        if self.older:
            data["older"] = [older.to_metadata() for older in self.older]
        if not self.keyed:  # as models were stored before there were such groups
            del data["groups"]
        if not self.has_user:
            del data["user"]
        if self.rows == "independent":  # as models were stored before there was a choice
            del data["rows"]
        return shorten(data, self.described_groups)

    @classmethod
    def from_mapping(cls, data: Any) -> Self:
        """Build a schema from parsed YAML or a model's metadata.

        Raises:
            InvalidSchema: naming every problem and where it is.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as err:
            raise InvalidSchema(describe_problems(err, _field_names())) from None


def _field_names() -> frozenset[str]:
    """Return the names of all fields that a schema can have, at any place of it."""
    models = (FeatureSchema, KeyedGroup, ContextFeature, FeastView)
    return frozenset(field.alias or name for model in models for name, field in model.model_fields.items())
