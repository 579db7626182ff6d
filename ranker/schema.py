"""The feature contract a model carries: names, order, defaults, key templates, fingerprint.

Owns what a stored vector means. Knows nothing of Redis, ONNX or HTTP.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from ranker.errors import InvalidSchema

FeatureName = Annotated[str, Field(min_length=1, max_length=200)]


class Feature(BaseModel):
    """One column: its name, and the value a row gets when the entity has no vector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: FeatureName
    default: float = 0.0


def _feature(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class EntitySchema(BaseModel):
    """The vector of one kind of entity (user or product): W features in order, and the key it is stored under."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    features: tuple[Annotated[Feature, BeforeValidator(_feature)], ...] = Field(min_length=1, max_length=65536)

    @field_validator("key")
    @classmethod
    def _one_placeholder(cls, key: str) -> str:
        if key.count("{id}") != 1:
            raise ValueError("a key template contains {id} exactly once, such as 'product:{id}'")
        return key

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

    @property
    def key_parts(self) -> tuple[str, str]:
        """What stands before and after the id in a key."""
        before, _, after = self.key.partition("{id}")
        return before, after


class UserSchema(EntitySchema):
    """The user's vector."""

    key: str = "user:{id}"


class ProductSchema(EntitySchema):
    """A product's vector."""

    key: str = "product:{id}"


class FeatureSchema(BaseModel):
    """Both vectors of a model. A matrix row is the user's features, then the product's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: UserSchema
    product: ProductSchema

    @property
    def width(self) -> int:
        """F, the number of columns of a matrix."""
        return self.user.width + self.product.width

    @cached_property
    def fingerprint(self) -> int:
        """A u32 that every stored vector carries: equal when the names and their order are.

        Defaults and key templates are left out, for changing those does not change what stored bytes mean. It is the
        first four bytes (little-endian) of BLAKE2s over the length-prefixed UTF-8 names, user's first.
        """
        digest = hashlib.blake2s(digest_size=4)
        for entity in (self.user, self.product):
            digest.update(entity.width.to_bytes(4, "little"))
            for name in entity.names:
                encoded = name.encode()
                digest.update(len(encoded).to_bytes(4, "little") + encoded)
        return int.from_bytes(digest.digest(), "little")

    def to_metadata(self) -> dict[str, Any]:
        """Plain data for a model's metadata or a YAML file; `from_mapping` reads it back."""
        return self.model_dump(mode="json")

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
