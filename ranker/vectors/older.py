"""Older schemas: those whose stored vectors are still read, so that a feature is added without loading all keys again.

Owns which older vectors can be read as rows of today. Knows nothing of their bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ranker.vectors.feature import Feature
from ranker.vectors.feature.unquoted import describe
from ranker.vectors.group import FeatureGroup

SAID = ("name", "type", "shape", "length", "vocabulary")
"""What of an older feature says what stored bytes mean."""


class OlderGroup(FeatureGroup):
    """The features of one entity, as they were."""

    features: tuple[Annotated[Feature, BeforeValidator(describe)], ...] = Field(min_length=1, max_length=65536)


class OlderSchema(BaseModel):
    """The features that vectors were written with; None for those of today."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: OlderGroup | None = None
    product: OlderGroup | None = None

    def to_metadata(self) -> dict[str, Any]:
        """Plain data; what does not say what stored bytes mean is left out."""
        groups = {"user": self.user, "product": self.product}
        return {
            name: {"features": [_described(feature) for feature in group.features]}
            for name, group in groups.items()
            if group is not None
        }


class OlderVectors(NamedTuple):
    """Vectors of an older schema, which are still read.

    Attributes:
        fingerprint: Of that schema.
        group: The features they hold.
    """

    fingerprint: int
    group: FeatureGroup


def find_problems(now: FeatureGroup, older: FeatureGroup) -> Iterator[str]:
    """Say which features make older vectors unreadable: those whose type has changed."""
    before = {feature.name: feature for feature in older.features}
    for feature in now.features:
        other = before.get(feature.name)
        if other is not None and not _same(feature, other):
            yield (
                f"{feature.name} was {_spelled(other)} and is {_spelled(feature)}, so what is stored of it means "
                "something else: give the new one another name"
            )


def find_additions(now: FeatureGroup, older: FeatureGroup) -> list[Feature]:
    """Return the features that older vectors lack, for which something must stand in."""
    return [feature for feature in now.features if feature.name not in older.slices]


def _same(now: Feature, older: Feature) -> bool:
    """Return whether what is stored of a feature means the same; a vocabulary may have grown at its end."""
    floats = {now.type, older.type} <= {"float32", "float16"}
    if (now.shape, now.length) != (older.shape, older.length) or (now.type != older.type and not floats):
        return False
    before = older.vocabulary or ()
    return (now.vocabulary or ())[: len(before)] == before


def _described(feature: Feature) -> dict[str, Any]:
    described = feature.model_dump(mode="json", include=set(SAID), exclude_none=True)
    return {name: value for name, value in described.items() if value != [] and (name, value) != ("type", "float32")}


def _spelled(feature: Feature) -> str:
    size = f" of shape {list(feature.shape)}" if feature.shape else ""
    length = f", {feature.length} long" if feature.length is not None else ""
    texts = f" of {len(feature.vocabulary):,} texts" if feature.vocabulary is not None else ""
    return f"{feature.type}{size}{length}{texts}"
