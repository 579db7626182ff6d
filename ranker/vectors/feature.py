"""Feature: one column of a model's matrix; its name, its default, and the numbers that stand for a request's texts.

Owns what a schema may say of a single feature. Knows nothing of which columns there are, or where they come from.
"""

from __future__ import annotations

import math
from datetime import date
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, model_validator

_Unquoted = bool | int | float | date | None
"""Values that YAML makes of a name without quotes."""


def describe(value: Any) -> Any:
    """Let a name stand for a feature that has nothing else to say."""
    return {"name": value} if isinstance(value, str | _Unquoted) else value


def require_text(value: Any) -> Any:
    """Refuse what YAML made no text of, in words that say how it stays one."""
    if isinstance(value, _Unquoted):
        raise ValueError(f"put quotes round it, for YAML reads {_reading(value)}")
    return value


def require_text_keys(value: Any) -> Any:
    """Refuse keys that YAML made no text of."""
    unquoted = [key for key in value if isinstance(key, _Unquoted)] if isinstance(value, dict) else []
    if unquoted:
        raise ValueError(f"put quotes round each key, for YAML reads {_reading(unquoted[0])}")
    return value


def _reading(value: _Unquoted) -> str:
    """Say what YAML takes for a value, the word for which is gone."""
    if isinstance(value, bool):
        return "on, yes and true as a boolean" if value else "off, no and false as a boolean"
    if value is None:
        return "null, ~ and nothing at all as no value"
    return f"it as the date {value}" if isinstance(value, date) else f"it as the number {value}"


FeatureName = Annotated[str, BeforeValidator(require_text), Field(min_length=1, max_length=200)]


LARGEST = float(np.finfo(np.float32).max)
Number = Annotated[FiniteFloat, Field(ge=-LARGEST, le=LARGEST)]
"""A value that a column can hold; NaN and infinities apart."""
Categories = Annotated[dict[str, Number], Field(min_length=1), BeforeValidator(require_text_keys)]
"""Texts and the numbers that stand for them."""


WhenAbsent = Literal["default", "nan"]
"""Stand-in for an absent value: the feature's default, or NaN for a model that was trained to know NaN as missing."""


class Feature(BaseModel):
    """One column: its name, and the value a row gets when there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: FeatureName
    default: float = 0.0
    missing: WhenAbsent | None = None
    """None says no more than the default does."""

    @model_validator(mode="before")
    @classmethod
    def _nan_stands_in(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("missing") == "nan" and "default" not in data:
            return {**data, "default": math.nan}
        return data

    @model_validator(mode="after")
    def _has_one_stand_in(self) -> Self:
        if self.missing == "nan" and not math.isnan(self.default):
            raise ValueError(f"`missing: nan` and `default: {self.default:g}` contradict each other; leave one out")
        return self

    @property
    def may_lack(self) -> bool:
        """Whether the schema says what stands in for a value that is absent."""
        return "default" in self.model_fields_set


class ProductContextFeature(Feature):
    """A column of which a request brings one value per product: a number, a boolean, or a category."""

    categories: Categories | None = None

    @property
    def is_category(self) -> bool:
        return self.categories is not None

    @model_validator(mode="after")
    def _says_what_unknown_categories_are(self) -> Self:
        if self.is_category and not self.may_lack:
            raise ValueError("a feature with categories needs a default, for those it does not know")
        return self


class ContextFeature(ProductContextFeature):
    """A column of which a request brings one value for all its products."""

    prefixes: Categories | None = None
    source: Annotated[Literal["zipCode"] | None, Field(alias="from")] = None
    """A field of the request that gives the value; None for the request's `context`."""

    @property
    def is_category(self) -> bool:
        return self.categories is not None or self.prefixes is not None

    @model_validator(mode="after")
    def _maps_text(self) -> Self:
        if self.source is not None and not self.is_category:
            raise ValueError(f"{self.source} is text: give categories or prefixes that map it to numbers")
        return self

    def number(self, category: str) -> float | None:
        """Return what a category is mapped to: by its whole text, else by its longest prefix; None when unknown."""
        known = (self.categories or {}).get(category)
        if known is not None or not self.prefixes:
            return known
        return next((self.prefixes[p] for p in self._longest_first if category.startswith(p)), None)

    @cached_property
    def _longest_first(self) -> list[str]:
        return sorted(self.prefixes or {}, key=len, reverse=True)
