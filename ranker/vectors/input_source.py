"""Input source: what of the features fills an input of a graph, as the schema's `inputs:` says it.

Owns the ways to say it. Knows neither which features there are nor what a graph is.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ranker.vectors.feature.unquoted import require_text

SourceName = Annotated[str, BeforeValidator(require_text), Field(min_length=1)]
"""A group, a feature, or `group.feature` where several groups have one of that name."""


class MaskSource(BaseModel):
    """Mask of a sequence, whose filled places are 1 or true, and then 0 or false."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mask: SourceName


class LengthSource(BaseModel):
    """Length of a sequence: how many of its places are filled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    length: SourceName


def _in_one_of_the_ways(value: Any) -> Any:
    """Refuse the rest in one sentence; of a union, each way would say why it is not it."""
    if isinstance(value, MaskSource | LengthSource | tuple):
        return value
    one_key = isinstance(value, dict) and tuple(value) in (("mask",), ("length",))
    names = value if isinstance(value, list) else list(value.values()) if one_key else [value]
    if not names or not all(isinstance(require_text(name), str) and name for name in names):
        raise ValueError(
            "an input takes a group, a feature, a list of features, {mask: FEATURE} or {length: FEATURE} of a sequence"
        )
    return value


InputSource = Annotated[
    SourceName | tuple[SourceName, ...] | MaskSource | LengthSource, BeforeValidator(_in_one_of_the_ways)
]
"""A group or a feature, several side by side, or what is known of a sequence."""
