"""Keyed group: features of a user or of a product under a key that the request, stored features or both make up.

Owns what a schema may say of one, and which values can be part of its keys. Knows nothing of how they are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, FiniteFloat, field_validator, model_validator

from ranker.vectors.feature import ContextFeature, Feature
from ranker.vectors.feature.unquoted import require_text_keys
from ranker.vectors.group import ContextSchema, EntitySchema, FeatureGroup
from ranker.vectors.keys.template import KeyTemplate, Place

RESERVED = frozenset(("user", "product", "context", "productContext"))
KEY_TYPES = ("category", "text", "int32", "int64", "product")
"""Types whose values are the same text for everyone who writes a key; a float's is not."""
MOST_GROUPS = 64


class KeyedGroup(EntitySchema):
    """Features under keys of their own, with a time to live in the near cache of their own."""

    per: Literal["user", "product"]
    """Whether a request has one row of it, or one for each of its products."""
    key: str
    ttl_s: Annotated[FiniteFloat, Field(ge=0)] | None = None
    """Seconds that a row is used from memory, at most; that of users, or of products, when None; 0 keeps none."""

    @field_validator("key")
    @classmethod
    def _one_placeholder(cls, key: str) -> str:
        KeyTemplate.parse(key)
        return key

    @model_validator(mode="after")
    def _has_a_key_for_each(self) -> Self:
        places = self.template.places
        of_product = [place for place in places if place.is_of_product]
        if self.per == "user" and of_product:
            raise ValueError(f"{of_product[0]} differs between the products of a request: say `per: product`")
        if self.per == "product" and not of_product:
            raise ValueError("its key is the same for all products of a request: say `per: user`")
        return self

    @model_validator(mode="after")
    def _has_its_join_keys(self) -> Self:
        template, view = self.template, self.feast
        if view is None:
            return self
        if view.join_keys is None:
            if template.before or template.after or template.between:
                raise ValueError('with `format: feast` the key is the join key\'s value alone, such as key: "{userId}"')
        elif sorted(template.names or ()) != list(view.types):
            example = ",".join(f"{name}={{…}}" for name in view.types)
            raise ValueError(f'with `join_keys` the key says which value each of them has, such as key: "{example}"')
        return self

    @cached_property
    def template(self) -> KeyTemplate:
        return KeyTemplate.parse(self.key)

    @property
    def key_parts(self) -> tuple[str, str]:
        """The text before the first value in a key, and behind the last."""
        if self.feast is not None:
            return self.feast.key_parts
        return self.template.before, self.template.after

    @cached_property
    def _join_order(self) -> Sequence[int]:
        """The places of the key, by the names of their join keys."""
        names = self.template.names or ("",)
        return sorted(range(len(names)), key=names.__getitem__)

    def join_values(self, entity_id: str) -> tuple[str, ...] | None:
        texts = self.template.split(entity_id)
        return None if texts is None else tuple(texts[place] for place in self._join_order)

    def joined_id(self, values: Sequence[str]) -> str | None:
        texts = tuple(text for _, text in sorted(zip(self._join_order, values, strict=True)))
        entity_id = self.template.join(texts)
        return entity_id if self.template.split(entity_id) == texts else None

    @property
    def is_request_side(self) -> bool:
        """Whether its columns are the same in all rows of a request."""
        return self.per == "user"

    @cached_property
    def refuses(self) -> bool:
        """Whether a product, or a user, without a vector of it counts as missing."""
        return any(feature.missing == "refuse" for feature in self.features)


def _named(groups: Any) -> Any:
    if not isinstance(groups, Mapping):
        raise ValueError("groups have names: write `groups: {NAME: {per: user, key: …, features: […]}}`")
    for name in groups:
        if name in RESERVED:
            raise ValueError(f"{name} is a group that every schema may have: give this one another name")
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise ValueError(f"{name!r} is no name of a group: letters, digits and _, no digit first")
    return groups


KeyedGroups = Annotated[
    dict[str, KeyedGroup], BeforeValidator(_named), BeforeValidator(require_text_keys), Field(max_length=MOST_GROUPS)
]
"""Groups by name, in the order of their columns."""


def find_key_problems(
    group: KeyedGroup, user: FeatureGroup, product: FeatureGroup, context: ContextSchema | None
) -> Iterator[str]:
    """Say which values a group's keys cannot have, and what to write in their place."""
    of: dict[str, FeatureGroup | None] = {"user": user, "product": product, "context": context}
    for place in group.template.places:
        if not place.feature:
            continue
        features = of[place.of]
        feature = next((f for f in (features.features if features else ()) if f.name == place.feature), None)
        if feature is None:
            yield f"{place} is no feature of `{place.of}`: name one of its features, or add it there"
        elif problem := _no_text(place, feature):
            yield problem


def _no_text(place: Place, feature: Feature) -> str | None:
    if feature.shape or feature.is_sequence:
        return f"{place} has several values, and a key needs one: name a feature that has one"
    if feature.type in KEY_TYPES or (isinstance(feature, ContextFeature) and feature.is_category):
        return None
    return (
        f"{place} is {feature.type}, which is not written in one way: give {feature.name} `type: int64`, `type: text` "
        "with a length, or `type: category` with a vocabulary"
    )
