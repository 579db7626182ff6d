"""Ids of a group's keys: whether any request, or stored feature, can make such a key up.

A row under another key is written and never read, and its features are their defaults without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ranker.ingest.validation import FindIdProblem, id_problem
from ranker.vectors.feature import Feature
from ranker.vectors.group import EntitySchema
from ranker.vectors.keyed_group import KeyedGroup
from ranker.vectors.keys.template import Place
from ranker.vectors.schema import FeatureSchema


def id_check(schema: FeatureSchema, entity: EntitySchema) -> FindIdProblem:
    """Return what says why an id of an entity's can be stored under no key that is read; None when it can."""
    if not isinstance(entity, KeyedGroup):
        return id_problem
    fits = [_fits(schema, place) for place in entity.template.places]

    def find(identifier: object) -> str | None:
        problem = id_problem(identifier)
        if problem is None and isinstance(identifier, str) and not entity.template.may_make(identifier, fits):
            problem = f"the id makes no key that a request asks for ({entity.key})"
        return problem

    return find


def _fits(schema: FeatureSchema, place: Place) -> Callable[[str], bool]:
    """Return whether a text may stand in a place; of a vocabulary any may, for another model's may be longer."""
    group = schema.groups.get(place.of) if place.feature else None
    (feature,) = [f for f in group.features if f.name == place.feature] if group else (None,)
    return bool if feature is None else partial(_may_be, feature)


def _may_be(feature: Feature, text: str) -> bool:
    if feature.kind.whole:
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or str(int(text)) != text:
            return False
        least, largest = feature.kind.limits
        return least <= int(text) <= largest
    return bool(text) and (feature.type != "text" or len(text.encode("utf-8", "surrogatepass")) <= feature.size)
