"""Feature schema, the contract a model carries: names, order, defaults, key templates, formats, fingerprint.

Owns what a stored vector means, and what a request brings beside it. Knows nothing of Redis, ONNX or HTTP.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from ranker.errors import InvalidSchema
from ranker.vectors.feature import (
    ContextFeature,
    Feature,
    ProductContextFeature,
    WhenAbsent,
    describe,
    require_text_keys,
)

Format = Literal["ranker", "float32", "float64", "msgpack", "hash"]
"""Stored format: `ranker` is version 1, a JSON array or JSON in JSON; the others are `formats`' business."""


GroupName = Literal["user", "product", "context", "productContext"]


class FeatureGroup(BaseModel):
    """W features in order: adjacent columns of the matrix."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    missing: WhenAbsent | None = None
    """Stand-in for an absent value where the feature names neither one nor a default."""
    features: tuple[Feature, ...]

    @field_validator("features", mode="before")
    @classmethod
    def _hand_down_missing(cls, features: Any, info: ValidationInfo) -> Any:
        missing = info.data.get("missing")
        if missing is None or not isinstance(features, list | tuple):
            return features
        described = map(describe, features)
        return [
            {"missing": missing, **f} if isinstance(f, dict) and not {"default", "missing"} & f.keys() else f
            for f in described
        ]

    @field_validator("features")
    @classmethod
    def _unique_names(cls, features: tuple[Feature, ...]) -> tuple[Feature, ...]:
        names = [f.name for f in features]
        repeated = sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []
        if repeated:
            raise ValueError(f"feature names repeat: {', '.join(repeated)}")
        return features

    @property
    def width(self) -> int:
        """W, the number of features."""
        return len(self.features)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.features)

    @cached_property
    def defaults(self) -> npt.NDArray[np.float32]:
        """The default vector, shape (W,), float32, read-only."""
        vector = np.array([f.default for f in self.features], dtype=np.float32)
        vector.flags.writeable = False
        return vector


class EntitySchema(FeatureGroup):
    """The vector of one kind of entity (user or product): how it is stored, and the key it is stored under."""

    key: str
    format: Format = "ranker"
    features: tuple[Annotated[Feature, BeforeValidator(describe)], ...] = Field(min_length=1, max_length=65536)

    @field_validator("key")
    @classmethod
    def _one_placeholder(cls, key: str) -> str:
        if key.count("{id}") != 1:
            raise ValueError("a key template contains {id} exactly once, such as 'product:{id}'")
        return key

    @property
    def key_parts(self) -> tuple[str, str]:
        """The text before and after the id in a key."""
        before, _, after = self.key.partition("{id}")
        return before, after


class UserSchema(EntitySchema):
    """The user's vector."""

    key: str = "user:{id}"


class ProductSchema(EntitySchema):
    """A product's vector."""

    key: str = "product:{id}"


class ContextSchema(FeatureGroup):
    """Context features: a request brings them once, for all its products."""

    features: tuple[Annotated[ContextFeature, BeforeValidator(describe)], ...] = Field(min_length=1, max_length=4096)


class ProductContextSchema(FeatureGroup):
    """Product context features: a request brings them for each of its products."""

    features: tuple[Annotated[ProductContextFeature, BeforeValidator(describe)], ...] = Field(
        min_length=1, max_length=4096
    )


class FeatureSchema(BaseModel):
    """All columns of a model's matrix: the stored vectors' first, then what the request brings.

    A row is the user's features, the product's, the context's and the product context's, in this order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: UserSchema
    product: ProductSchema
    context: ContextSchema | None = None
    product_context: Annotated[ProductContextSchema | None, Field(alias="productContext")] = None
    inputs: Annotated[dict[str, GroupName] | None, BeforeValidator(require_text_keys)] = None
    """Group that each input of a graph with several takes, where their names or widths leave a choice."""
    output: Annotated[str, Field(min_length=1)] | None = None
    """The output that is the score, or `output[class or column]` of one, where there is a choice."""

    @property
    def groups(self) -> dict[str, FeatureGroup]:
        """The groups that the schema has, by name, in the order of their columns."""
        groups = {
            "user": self.user,
            "product": self.product,
            "context": self.context,
            "productContext": self.product_context,
        }
        return {name: group for name, group in groups.items() if group is not None}

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
        """A u32 that every stored vector carries: equal when the names and their order are.

        Defaults, key templates, formats and what a request brings are left out, for changing those does not change
        what stored bytes mean. It is the first four bytes (little-endian) of BLAKE2s over the length-prefixed UTF-8
        names, user's first.
        """
        digest = hashlib.blake2s(digest_size=4)
        for entity in (self.user, self.product):
            digest.update(entity.width.to_bytes(4, "little"))
            for name in entity.names:
                encoded = name.encode()
                digest.update(len(encoded).to_bytes(4, "little") + encoded)
        return int.from_bytes(digest.digest(), "little")

    def shared_keys(self, other: FeatureSchema) -> str | None:
        """Say why two models cannot be served side by side: vectors under the same keys that are not the same features.

        Fields of a hash are read by their names, so two models may share hashes.
        """
        for name, mine, its in (("user", self.user, other.user), ("product", self.product, other.product)):
            hashes = mine.format == its.format == "hash"
            if mine.key == its.key and not hashes and (mine.names, mine.format) != (its.names, its.format):
                return (
                    f"it reads other {name} features under the same keys {mine.key}. Give it key templates of its own."
                )
        return None

    def to_metadata(self) -> dict[str, Any]:
        """Plain data for a model's metadata or a YAML file; `from_mapping` reads it back."""
        data = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        for entity, dumped in ((self.user, data["user"]), (self.product, data["product"])):
            if entity.format == "ranker":  # as models were stored before there were other formats
                del dumped["format"]
            elif entity.format == "hash":  # where a default that is not given means that no hash may lack the field
                for feature, column in zip(entity.features, dumped["features"], strict=True):
                    if not feature.may_lack:
                        del column["default"]
        for name, group in self.groups.items():
            for feature, column in zip(group.features, data[name]["features"], strict=True):
                if feature.missing == "nan":  # says it all, and JSON has no NaN
                    column.pop("default", None)
        return data

    @classmethod
    def from_mapping(cls, data: Any) -> Self:
        """Build a schema from parsed YAML or a model's metadata.

        Raises:
            InvalidSchema: naming every problem and where it is.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as err:
            problems = [f"{'.'.join(map(str, e['loc'])) or 'schema'}: {e['msg']}" for e in err.errors()]
            raise InvalidSchema(problems) from None
