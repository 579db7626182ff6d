"""Rows of groups among the features of a request, and what becomes of features whose groups must be there. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ranker.features.groups.keys import GroupKeys
from ranker.vectors.rows import Ask, Features, Rows, RowStatus
from ranker.vectors.schema import FeatureSchema

RowsOf = Callable[[str, Sequence[str]], Rows]
"""A group's name, and n ids → n rows."""


def read_groups(schema: FeatureSchema, ask: Ask, features: Features, rows_of: RowsOf) -> Features:
    """Return a request's features with the rows of its groups, read one group after the other: what tools do."""
    if schema.keyed:
        found = {}
        for name, group in schema.keyed.items():
            ids = GroupKeys(schema, name).ids([ask], [features])
            unique = list(dict.fromkeys(entity_id for entity_id in ids if entity_id is not None))
            rows = rows_of(name, unique) if unique else Rows.missing(0, group.width)
            found[name] = spread(rows, unique, ids)
        attach(schema, features, found, nobody=ask.user_id is None)
    return features


def spread(rows: Rows, unique: Sequence[str], ids: Sequence[str | None]) -> Rows:
    """Return the row of each id, missing for None, from the rows of the distinct ones."""
    place_of = dict(zip(unique, range(len(unique)), strict=True))
    places = [len(unique) if entity_id is None else place_of[entity_id] for entity_id in ids]
    values = np.concatenate((rows.values, np.zeros((1, rows.values.shape[1]), np.float32)))
    return Rows(values, np.append(rows.statuses, np.uint8(RowStatus.MISSING)), complete=False).taken(places)


def attach(schema: FeatureSchema, features: Features, groups: Mapping[str, Rows], *, nobody: bool) -> None:
    """Give features their groups' rows; a user, or a product, that may not lack one and does counts as missing.

    Args:
        schema: The model's.
        features: The request's, which are changed.
        groups: The rows of each group.
        nobody: Whether the request is no user's, so that none can be missing.
    """
    features.groups = groups
    for name, rows in groups.items():
        group = schema.keyed[name]
        if group.refuses and not rows.complete:
            if group.per == "user":
                if not nobody:
                    features.user = _missing_where(features.user, rows)
            else:
                features.products = _missing_where(features.products, rows)


def _missing_where(rows: Rows, needed: Rows) -> Rows:
    """Return rows of which those count as missing whose other rows were not found."""
    lacks = (needed.statuses != RowStatus.FOUND) & (rows.statuses == RowStatus.FOUND)
    return Rows(rows.values, np.where(lacks, np.uint8(RowStatus.MISSING), rows.statuses), complete=False)
