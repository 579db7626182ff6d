"""Feature group: features that come from one place, in the order of their columns; how an entity's are stored.

Owns the layout: which columns are which feature's. Knows nothing of the other groups of a schema.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from ranker.errors import UnusableValue
from ranker.vectors.feature import MAX_WIDTH, ContextFeature, Feature, ProductContextFeature, WhenAbsent
from ranker.vectors.feature.absent import hand_down
from ranker.vectors.feature.bounds import Bounds
from ranker.vectors.feature.unquoted import describe
from ranker.vectors.feature.values import default_columns
from ranker.vectors.fingerprint import type_bytes
from ranker.vectors.keys.feast import FeastView
from ranker.vectors.rows import Key

Format = Literal["ranker", "float32", "float64", "msgpack", "json", "hash", "feast"]
"""Stored format: `ranker` is version 1 or 2, a JSON array or JSON in JSON; `stored.formats` reads the others."""
NAMED_FIELDS = ("hash", "json", "feast")
"""Formats that hold values under their features' names, so that several schemas can read the same keys."""


class FeatureGroup(BaseModel):
    """Features in order: W adjacent columns of the matrix, one or more for each feature."""

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
        return [{**f, **hand_down(missing, f)} if isinstance(f, dict) else f for f in described]

    @field_validator("features")
    @classmethod
    def _unique_names(cls, features: tuple[Feature, ...]) -> tuple[Feature, ...]:
        names = [f.name for f in features]
        typed = [f for f in features if not f.is_plain]
        names += [name for f in typed for name in f.column_names]
        repeated = sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []
        if repeated:
            raise ValueError(f"feature names repeat: {', '.join(repeated)}")
        for feature in typed:
            try:
                default_columns(feature)
            except UnusableValue as err:
                raise ValueError(f"the default of {feature.name} is none of its type: {err.reason}") from None
        for feature in features:
            if feature.min is not None or feature.max is not None:
                _check_bounds(feature)
        if (width := sum(f.width for f in typed) + len(features) - len(typed)) > MAX_WIDTH:
            raise ValueError(f"the features take {width:,} columns; {MAX_WIDTH:,} are the most")
        return features

    @cached_property
    def bounds(self) -> Bounds:
        """Which values are beyond what the schema says; false where it says nothing."""
        bound = [f for f in self.features if f.min is not None or f.max is not None]
        return Bounds(bound, self.slices if bound else {})

    @cached_property
    def is_plain(self) -> bool:
        """Whether every feature is one float32, and so one column."""
        return all(f.is_plain for f in self.features)

    @cached_property
    def width(self) -> int:
        """W, the number of columns."""
        return len(self.features) if self.is_plain else sum(f.width for f in self.features)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The features' names, in order."""
        return tuple(f.name for f in self.features)

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """The columns' names, W of them: the features' where all are plain."""
        return self.names if self.is_plain else tuple(name for f in self.features for name in f.column_names)

    @cached_property
    def slices(self) -> Mapping[str, slice]:
        """Where each feature's columns are among the W, by its name."""
        ends = list(accumulate(f.width for f in self.features))
        return {f.name: slice(end - f.width, end) for f, end in zip(self.features, ends, strict=True)}

    def feature_of(self, column: int) -> str:
        """Return the name of the feature that one of the W columns is of."""
        return next(name for name, at in self.slices.items() if at.start <= column < at.stop)

    @cached_property
    def defaults(self) -> npt.NDArray[np.float32]:
        """The defaults' columns, shape (W,), float32, read-only."""
        if self.is_plain:
            vector = np.array([f.default for f in self.features], dtype=np.float32)
        else:
            vector = np.concatenate([default_columns(f) for f in self.features])
        vector.flags.writeable = False
        return vector


class EntitySchema(FeatureGroup):
    """The vector of one kind of entity (user or product): how it is stored, and the key it is stored under."""

    key: str
    format: Format = "ranker"
    feast: FeastView | None = None
    """Which feature view has the features, where `format` is `feast`."""
    features: tuple[Annotated[Feature, BeforeValidator(describe)], ...] = Field(min_length=1, max_length=65536)

    @model_validator(mode="before")
    @classmethod
    def _has_the_key_of_its_view(cls, data: Any) -> Any:
        """Give an entity of Feast's the key by which it is shown; whatever else it could be is not said."""
        view = data.get("feast") if isinstance(data, dict) and data.get("format") == "feast" else None
        if "per" in cls.model_fields or not isinstance(view, dict):
            return data
        key = f"{view.get('project')}/{view.get('join_key')}={{id}}"
        if data.get("key", key) != key:
            raise ValueError("with `format: feast` the key is Feast's own: leave `key` out")
        return {**data, "key": key}

    @model_validator(mode="after")
    def _holds_its_features(self) -> Self:
        if (self.format == "feast") != (self.feast is not None):
            raise ValueError(
                "`format: feast` and `feast: {project: …, view: …, join_key: …, type: string|int32|int64}` go together"
            )
        if self.feast is not None and self.feast.join_keys is not None and "per" not in type(self).model_fields:
            raise ValueError("users and products have one `join_key`: a view of several is one of `groups`")
        if self.format in ("float32", "float64") and not self.is_plain:
            for feature in self.features:
                if feature.kind.stored.kind != "f" or feature.is_sequence:
                    kind = "a sequence" if feature.is_sequence else feature.type
                    raise ValueError(f"`format: {self.format}` has floats alone, and {feature.name} is {kind}")
        return self

    @field_validator("key")
    @classmethod
    def _one_placeholder(cls, key: str) -> str:
        if key.count("{id}") != 1:
            raise ValueError("a key template contains {id} exactly once, such as 'product:{id}'")
        return key

    @property
    def meaning(self) -> tuple[object, ...]:
        """Names and types of the features: equal where stored bytes say the same."""
        return self.names if self.is_plain else tuple((f.name, type_bytes(f)) for f in self.features)

    @property
    def key_parts(self) -> tuple[str, str]:
        """The text before and after the id in a key."""
        if self.feast is not None:
            return self.feast.key_parts
        before, _, after = self.key.partition("{id}")
        return before, after

    @cached_property
    def _around_id(self) -> tuple[bytes, bytes]:
        """What stands before and after the id in a key: a load announces millions of keys, to be looked at by each."""
        before, after = self.key_parts
        return before.encode(), after.encode()

    @property
    def is_hash(self) -> bool:
        """Whether its keys hold hashes, of which `fields` are read."""
        return self.format in ("hash", "feast")

    @cached_property
    def fields(self) -> tuple[Key, ...]:
        """Fields of a hash that hold the features, in their order, and what else Feast's view needs behind them."""
        return self.names if self.feast is None else self.feast.fields(self.names)

    def join_values(self, entity_id: str) -> tuple[str, ...] | None:
        """Return the values of Feast's join keys, sorted by their names, in an id; None where they cannot be told."""
        return (entity_id,)

    def joined_id(self, values: Sequence[str]) -> str | None:
        """Return the id of which these are the values; None where no request can ask for it."""
        return values[0]

    def id_in(self, key: bytes) -> str | None:
        """Return the id in a key; None for a key that is not one of these."""
        if self.feast is not None:
            values = self.feast.values(key)
            return None if values is None else self.joined_id(values)
        before, after = self._around_id
        if not (key.startswith(before) and key.endswith(after)) or len(key) <= len(before) + len(after):
            return None
        try:
            return key[len(before) : len(key) - len(after)].decode()
        except UnicodeDecodeError:  # no request can ask for it
            return None


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


def _check_bounds(feature: Feature) -> None:
    """Raise ValueError for bounds of another shape than the feature, or that its default is beyond."""
    try:
        bounds = Bounds((feature,), {feature.name: slice(0, feature.width)})
    except (ValueError, OverflowError):
        raise ValueError(f"`min` and `max` of {feature.name} have another shape than its values") from None
    row = default_columns(feature)
    if bounds.find_beyond(row[np.newaxis])[0]:
        _, problem = bounds.describe(row)
        beyond = f"the default of {feature.name} is beyond its `min` and `max`: {problem}"
        raise ValueError(f"{beyond}. Give it a `default` within them")
