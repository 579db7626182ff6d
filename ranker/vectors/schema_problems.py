"""Problems of a schema: what validation finds, in the words of the file that somebody wrote.

Owns the sentences. Knows nothing of what a schema may say: it is given the names of its fields.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING

from pydantic import ValidationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_WORDS: Mapping[str, str] = {
    "missing": "it is missing",
    "tuple_type": "write a list, such as [a, b]",
    "too_short": "it must not be empty",
    "string_type": "write a text; what is none without quotes is one in them",
    "model_type": "write its fields below it, such as `features: [a, b]`",
    "dict_type": "write names with a value each, such as {NAME: VALUE}",
}
"""Sentences for what pydantic says in the words of Python; what is not here has words of its own."""


def describe_problems(err: ValidationError, fields: Collection[str]) -> list[str]:
    """Return each problem and where it is, `product.features.1: what is wrong`.

    Args:
        err: What validation found.
        fields: The names of all fields that a schema can have, at any place of it.
    """
    errors = err.errors(include_url=False)
    places = [error["loc"] for error in errors]
    return [
        ": ".join(filter(None, (".".join(map(str, error["loc"])), _describe(error, fields))))
        for error in errors
        if not any(_is_below(place, error["loc"]) for place in places)
    ]


def _is_below(place: tuple[int | str, ...], other: tuple[int | str, ...]) -> bool:
    """Whether a place is within another, whose own problem is then that what is within it could not be taken."""
    return len(place) > len(other) and place[: len(other)] == other


def _describe(error: ErrorDetails, fields: Collection[str]) -> str:
    kind, given = error["type"], error["input"]
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "extra_forbidden":
        return f"there is no such field here{_meant(str(error['loc'][-1]), fields)}"
    if kind == "literal_error":
        return f"write {error['ctx']['expected']}, not {str(given)[:40]!r}"
    if kind == "model_type" and not error["loc"]:
        return "there is no schema: write `product: {features: [a, b]}`, and what else the model takes"
    return _WORDS.get(kind) or error["msg"].replace("Input should", "It should", 1)


def _meant(name: str, known: Collection[str]) -> str:
    found = [other for other in get_close_matches(name, known, 1, 0.7) if other != name]
    return f": did you mean `{found[0]}`?" if found else ""
