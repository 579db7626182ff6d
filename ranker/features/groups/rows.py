"""Rows of groups among the features of a request, and what becomes of features whose groups must be there. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from ranker.features.groups.keys import GroupKeys
from ranker.features.groups.side import SideRows
from ranker.vectors.rows import Ask, Features, Rows, RowStatus
from ranker.vectors.schema import FeatureSchema

RowsOf = Callable[[str, Sequence[str]], Rows]
"""A group's name, and n ids → n rows."""


def read_groups(schema: FeatureSchema, ask: Ask, features: Features, rows_of: RowsOf) -> Features:
    """Return a request's features with the rows of its groups, read one group after the other: what tools do."""
    if not schema.reads_more:
        return features

    found: dict[str, Rows] = {}
    for name, group in schema.keyed.items():
        ids = GroupKeys(schema, name).ids([ask], [features])
        unique = distinct(ids)
        found[name] = spread(rows_of(name, unique) if unique else Rows.missing(0, group.width), unique, ids)
    for name in schema.side_information:
        found[name] = side_row(schema, name, ask, features, found, partial(rows_of, "product"))
    attach(schema, features, found, nobody=ask.user_id is None)
    return features


def side_row(
    schema: FeatureSchema,
    name: str,
    ask: Ask,
    features: Features,
    groups: Mapping[str, Rows],
    products_of: Callable[[Sequence[str]], Rows],
) -> Rows:
    """Return the one row of a history's side information.

    Args:
        schema: The model's.
        name: The history.
        ask: The request.
        features: What was found for it.
        groups: The rows of its groups.
        products_of: n distinct ids → the rows of these products.
    """
    side = SideRows(schema, name)
    (ids,) = side.ids([ask], [features], [groups])
    unique = distinct(ids)
    rows = products_of(unique) if unique else Rows.missing(0, schema.product.width)
    return Rows.known(side.rows([len(ids)], spread(rows, unique, ids)))


def distinct(ids: Sequence[str | None]) -> list[str]:
    """Return the ids that there are, each once."""
    return list(dict.fromkeys(entity_id for entity_id in ids if entity_id is not None))


def spread(rows: Rows, unique: Sequence[str], ids: Sequence[str | None]) -> Rows:
    """Return the row of each id, missing for None, from the rows of the distinct ones."""
    place_of = dict(zip(unique, range(len(unique)), strict=True))
    places = [len(unique) if entity_id is None else place_of[entity_id] for entity_id in ids]
    values = np.concatenate((rows.values, np.zeros((1, rows.values.shape[1]), np.float32)))
    return Rows(values, np.append(rows.statuses, np.uint8(RowStatus.MISSING)), complete=False).taken(places)


def mark_unread(schema: FeatureSchema, features: Features, groups: Mapping[str, Rows]) -> None:
    """Let rows count as unread, not missing, whose keys have a stored value that could not be read."""
    for name, group in schema.keyed.items():
        statuses = groups[name].statuses
        for of in {place.of for place in group.template.places} & {"user", "product"}:
            of_key = features.user if of == "user" else features.products
            is_unread = of_key.statuses == RowStatus.UNREAD
            statuses[is_unread & (statuses == RowStatus.MISSING)] = RowStatus.UNREAD


def attach(schema: FeatureSchema, features: Features, groups: dict[str, Rows], *, nobody: bool) -> None:
    """Give features their groups' rows; a user, or a product, that may not lack one and does counts as missing.

    Args:
        schema: The model's.
        features: The request's, which are changed.
        groups: The rows of each group, and of side information: that of a user who is missing becomes the default's.
        nobody: Whether the request is no user's, so that none can be missing.
    """
    features.groups = groups
    for name, group in schema.keyed.items():
        if group.refuses and not (rows := groups[name]).complete:
            if group.per == "user":
                if not nobody:
                    features.user = _missing_where(features.user, rows)
            else:
                features.products = _missing_where(features.products, rows)
    for name, side in schema.side_information.items():
        if side.of == "user" and not features.user.complete:
            groups[name] = Rows.known(side.defaults[np.newaxis])


def _missing_where(rows: Rows, needed: Rows) -> Rows:
    """Return rows of which those count as missing, or as unread, whose other rows were not found, or not read."""
    lacks = (needed.statuses != RowStatus.FOUND) & (rows.statuses == RowStatus.FOUND)
    why = np.where(needed.statuses == RowStatus.UNREAD, np.uint8(RowStatus.UNREAD), np.uint8(RowStatus.MISSING))
    return Rows(rows.values, np.where(lacks, why, rows.statuses), complete=False)
