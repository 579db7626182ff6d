"""Feature: one named value of a user, a product or a request; its type, its default, and the columns it takes.

Owns what a schema may say of a single feature. Knows nothing of which features there are, or where they come from.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ranker.vectors.feature.absent import WhenAbsent, has_nan
from ranker.vectors.feature.kinds import KINDS, MAX_CODES, TEXT_BYTES, FeatureType, Kind
from ranker.vectors.feature.unquoted import require_text, require_text_keys, require_texts
from ranker.vectors.rounding import LARGEST

FeatureName = Annotated[str, BeforeValidator(require_text), Field(min_length=1, max_length=200)]
Number = Annotated[FiniteFloat, Field(ge=-LARGEST, le=LARGEST)]
"""A value that a column can hold; NaN and infinities apart."""
Categories = Annotated[dict[str, Number], Field(min_length=1), BeforeValidator(require_text_keys)]
"""Texts and the numbers that stand for them."""


MAX_WIDTH = 65536
"""Columns of a feature, and of a group."""
Default = float | int | str | tuple[Any, ...]
"""A number, a category or text, or a nested tuple of them for a vector or a sequence."""
Bound = int | FiniteFloat | tuple[Any, ...]
"""A number, or a nested tuple of them with the feature's shape."""
_NUMBER = TypeAdapter(float)


def _typed_default(value: Any, _: Any, info: ValidationInfo) -> Default:
    """Take a number for what has one column, as ever, and anything for the rest: `values` tells whether it can be."""
    data = info.data
    if data.get("type") != "float32" or data.get("shape") or data.get("length") is not None:
        default: Default = _tuples(value)
        return default
    try:
        number: float = _NUMBER.validate_python(value)
    except ValidationError as err:
        (problem, *_) = err.errors(include_url=False)
        raise PydanticCustomError(problem["type"], "{said}", {"said": problem["msg"]}) from None
    return number


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


Vocabulary = Annotated[tuple[str, ...], BeforeValidator(require_texts), Field(min_length=1, max_length=MAX_CODES)]
"""Texts in the order of their codes, from 0."""


class Feature(BaseModel):
    """One feature: its name, what its value is, and what stands in when there is none.

    Its columns are float32 and adjacent:

    | type | columns |
    |---|---|
    | `float32`, `float16`, `bool` (0, 1), `category` (its code) | one for each element |
    | `int32` | two for each element: d0 + d1 * 2^22, d1 signed |
    | `int64`, `product` | three for each element: d0 + d1 * 2^22 + d2 * 2^44, d2 signed |
    | `text` | one for each three bytes, the first the least significant; no input of a graph |

    A vector or matrix has its elements in C order. A sequence (`length`) has the number of its elements first, then
    `length` elements, zeros where there are fewer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: FeatureName
    type: FeatureType = "float32"
    shape: Annotated[tuple[PositiveInt, ...], Field(max_length=8)] = ()
    """Shape of a vector or matrix, or of each element of a sequence."""
    length: Annotated[int, Field(ge=1, le=MAX_WIDTH - 1)] | None = None
    """Elements of a sequence at most, the newest first; bytes of a text at most."""
    order: Literal["newest_first", "oldest_first"] | None = None
    """How the graph wants a sequence, which is stored the newest first."""
    padding: Literal["behind", "front"] | None = None
    """Where the graph wants the zeros of a sequence, which are stored behind."""
    vocabulary: Vocabulary | None = None
    """Texts of a category."""
    unknown: Annotated[int, Field(ge=-MAX_CODES, le=MAX_CODES)] | Literal["nan"] | None = None
    """Code of a text that the vocabulary lacks; None where such a text is refused."""
    min: Bound | None = None
    """Least value of a number, or of each element; a row with one beyond it cannot be used."""
    max: Bound | None = None
    """The largest. Import finds both for ids that the graph looks up in a table."""
    default: Annotated[Default, WrapValidator(_typed_default)] = 0.0
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
        if self.missing == "nan" and not (isinstance(self.default, float) and math.isnan(self.default)):
            raise ValueError(f"`missing: nan` and `default: {self.default_text}` contradict each other; leave one out")
        if (self.min is not None or self.max is not None) and self.type in ("bool", "category", "text"):
            raise ValueError(f"`min` and `max` are those of numbers, and it is {self.type}: leave them out")
        if not self.is_plain or self.vocabulary is not None or self.order or self.padding or self.unknown is not None:
            self._fits_its_type()
        return self

    def _fits_its_type(self) -> None:
        if self.type == "category" and self.vocabulary is None:
            raise ValueError(
                "`type: category` needs a `vocabulary`: its texts, or a file of them, in the order of codes"
            )
        if self.vocabulary is not None:
            self._fits_its_vocabulary(self.vocabulary)
        if self.unknown is not None and self.type != "category":
            raise ValueError("`unknown` is the code of a category that the vocabulary lacks: give it `type: category`")
        if self.type in ("text", "product") and (self.length is None or self.shape):
            what = "the bytes of the longest text" if self.type == "text" else "how many products it remembers"
            raise ValueError(f"`type: {self.type}` needs a `length`, {what}, and has no `shape`")
        if (self.order or self.padding) and not self.is_sequence:
            raise ValueError("`order` and `padding` are those of a sequence: give it a `length`, or leave them out")
        if "nan" in (self.missing, self.unknown) and not has_nan(self.type, self.length):
            raise ValueError(
                "only float32, float16, bool and category can be NaN, and no sequence: leave `nan` out, and give it a "
                "`default` (of a category, a code for `unknown`)"
            )
        if self.width > MAX_WIDTH:
            raise ValueError(f"it would take {self.width:,} columns; {MAX_WIDTH:,} are the most")

    def _fits_its_vocabulary(self, vocabulary: tuple[str, ...]) -> None:
        if self.type != "category":
            raise ValueError("a `vocabulary` is that of a category: give it `type: category`")
        if len(set(vocabulary)) < len(vocabulary):
            twice = next(text for text, count in Counter(vocabulary).items() if count > 1)
            raise ValueError(f"{twice!r} stands twice in the vocabulary, so its code is not clear: leave one out")

    @cached_property
    def is_plain(self) -> bool:
        """Whether it is one float32, which all features were before there were types."""
        return self.type == "float32" and not self.shape and self.length is None

    @property
    def kind(self) -> Kind:
        return KINDS[self.type]

    @cached_property
    def codes(self) -> Mapping[str, int]:
        """Code of each text of its vocabulary; empty where it has none."""
        return {text: code for code, text in enumerate(self.vocabulary or ())}

    @property
    def is_sequence(self) -> bool:
        """Whether it holds up to `length` elements, counted in its first column."""
        return self.length is not None and self.type != "text"

    @property
    def size(self) -> int:
        """The number of its elements; of a text's bytes."""
        return math.prod(self.shape) * (self.length or 1)

    @cached_property
    def width(self) -> int:
        """The number of its columns."""
        if self.type == "text":
            return -(-self.size // TEXT_BYTES)
        return self.size * self.kind.digits + self.is_sequence

    @property
    def column_names(self) -> tuple[str, ...]:
        """Its own name; with a number behind it where it is no plain number."""
        return (self.name,) if self.is_plain else tuple(f"{self.name}[{i}]" for i in range(self.width))

    @property
    def may_lack(self) -> bool:
        """Whether the schema says what stands in for a value that is absent."""
        return self.missing != "refuse" and ("default" in self.model_fields_set or self.missing == "default")

    @property
    def default_text(self) -> str:
        """The default, for people."""
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)


class ProductContextFeature(Feature):
    """A feature of which a request brings one value per product."""

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
    """A feature of which a request brings one value for all its products."""

    prefixes: Categories | None = None
    source: Annotated[Literal["zipCode"] | None, Field(alias="from")] = None
    """A field of the request that gives the value; None for the request's `context`."""

    @property
    def is_category(self) -> bool:
        return self.categories is not None or self.prefixes is not None

    @model_validator(mode="after")
    def _maps_text(self) -> Self:
        if self.source is not None and not self.is_category and self.type not in ("category", "text"):
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
