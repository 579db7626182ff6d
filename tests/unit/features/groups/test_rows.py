"""Rows of groups as tools read them, and what becomes of features whose groups must be there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from ranker.features.groups.rows import read_groups, spread
from ranker.vectors.rows import Ask, Features, ProductId, Rows, RowStatus, UserId
from ranker.vectors.schema import FeatureSchema
from tests.support.groups import DATA, SCHEMA
from tests.support.sample import SCHEMA as WITHOUT_GROUPS
from tests.support.typed import columns

FOUND, MISSING, CORRUPT = map(int, (RowStatus.FOUND, RowStatus.MISSING, RowStatus.CORRUPT))
BIG = str(1 << 40)
ASK = Ask(UserId("u"), [ProductId(i) for i in "abc"], {"store": "main"})
NOBODY = ASK._replace(user_id=None)
HISTORY = FeatureSchema.from_mapping(
    {
        "user": {"features": ["age", {"name": "viewed", "type": "product", "length": 3}]},
        "product": {"features": ["stock", {"name": "price", "default": 0.5}]},
        "inputs": {"a": "viewed.price"},
    }
)


class Stored:
    """What is stored, by group and id, and what was asked for so far."""

    def __init__(self, schema: FeatureSchema, **held: Mapping[str, list[float]]) -> None:
        self.schema = schema
        self.held = held
        self.asked: list[tuple[str, list[str]]] = []

    def rows(self, name: str, ids: Sequence[str]) -> Rows:
        self.asked.append((name, [*ids]))
        held, nothing = self.held.get(name, {}), [-1.0] * self.schema.entities[name].width
        statuses = np.array([entity_id not in held for entity_id in ids], np.uint8)
        values = np.array([held.get(entity_id, nothing) for entity_id in ids], np.float32)
        return Rows(values, statuses, complete=not statuses.any())


def features() -> Features:
    """Those of a user, and of three products of two sellers."""
    products = columns(SCHEMA.product, [1.0, 1 << 40, "shoes"], [2.0, 7, "hats"], [3.0, 1 << 40, "shoes"])
    return Features(Rows.known(columns(SCHEMA.user, [30.0, "vip"])), Rows.known(products))


def with_groups(**groups: Any) -> FeatureSchema:
    return FeatureSchema.from_mapping(DATA | {"groups": groups})


def shown(found: Features) -> dict[str, list[list[float] | None]]:
    """The rows of each group, None for one that was not found, once their form was looked at."""
    assert found.groups is not None
    for rows in found.groups.values():
        assert (rows.values.dtype, rows.statuses.dtype) == (np.float32, np.uint8)
        assert len(rows.values) == len(rows.statuses)
        assert rows.complete == (rows.statuses == FOUND).all()
    return {
        name: [
            row if status == FOUND else None
            for row, status in zip(rows.values.tolist(), rows.statuses.tolist(), strict=True)
        ]
        for name, rows in found.groups.items()
    }


def stored() -> Stored:
    return Stored(
        SCHEMA,
        user_live={"u": [5, 2]},
        seller={BIG: [4.5, 0]},
        affinity={"u:shoes": [0.25]},
        shop={"main:vip": [1]},
        stock={"a": [9]},
    )


OF_PRODUCTS = {"seller": [[4.5, 0.0], None, [4.5, 0.0]], "stock": [[9.0], None, None]}


def test_each_key_is_read_once_and_its_row_is_that_of_all_products_that_have_it() -> None:
    store = stored()
    found = read_groups(SCHEMA, ASK, features(), store.rows)
    of_user = {"user_live": [[5.0, 2.0]], "affinity": [[0.25], None, [0.25]], "shop": [[1.0]]}
    assert shown(found) == OF_PRODUCTS | of_user
    assert store.asked == [
        ("user_live", ["u"]),
        ("seller", [BIG, "7"]),
        ("affinity", ["u:shoes", "u:hats"]),
        ("shop", ["main:vip"]),
        ("stock", ["a", "b", "c"]),
    ]


def test_nothing_is_asked_of_a_group_whose_keys_all_lack_a_value() -> None:
    store = stored()
    found = read_groups(SCHEMA, NOBODY, features(), store.rows)
    assert shown(found) == OF_PRODUCTS | {"user_live": [None], "affinity": [None] * 3, "shop": [None]}
    assert store.asked == [("seller", [BIG, "7"]), ("stock", ["a", "b", "c"])]


def test_schema_without_groups_leaves_features_as_they_are() -> None:
    store, found = Stored(WITHOUT_GROUPS), Features(Rows.missing(1, 2), Rows.missing(3, 3))
    assert read_groups(WITHOUT_GROUPS, ASK, found, store.rows) is found
    assert found.groups is None
    assert not store.asked


@pytest.mark.parametrize(("ask", "is_there"), [(ASK, False), (NOBODY, True)])
def test_user_is_missing_who_may_not_lack_a_group_and_does_but_nobody_is_not(ask: Ask, is_there: bool) -> None:
    live = DATA["groups"]["user_live"] | {"features": [{"name": "clicks_1h", "missing": "refuse"}]}
    schema = with_groups(user_live=live)
    found = read_groups(schema, ask, features(), Stored(schema).rows)
    assert shown(found) == {"user_live": [None]}
    assert found.user.complete is is_there
    assert found.user.statuses.tolist() == [FOUND if is_there else MISSING]
    assert found.products.complete


def test_product_is_missing_that_may_not_lack_a_group_and_does_and_its_neighbours_are_as_they_were() -> None:
    schema = with_groups(seller=DATA["groups"]["seller"] | {"features": [{"name": "rating", "missing": "refuse"}]})
    before = features()
    before.products = Rows(before.products.values, np.array([FOUND, FOUND, CORRUPT], np.uint8), complete=False)
    found = read_groups(schema, ASK, before, Stored(schema, seller={BIG: [4.5]}).rows)
    assert shown(found) == {"seller": [[4.5], None, None]}
    assert found.products.statuses.tolist() == [FOUND, MISSING, CORRUPT]
    assert (found.products.statuses.dtype, found.products.complete) == (np.uint8, False)
    assert found.products.values[:, 0].tolist() == [1, 2, 3]
    assert found.user.complete


def test_products_of_a_history_are_read_once_each() -> None:
    store = Stored(HISTORY, product={"3": [1, 30]})
    user = Rows.known(columns(HISTORY.user, [20.0, [3, 9, 3]]))
    found = read_groups(HISTORY, ASK, Features(user, Rows.missing(3, 2)), store.rows)
    assert shown(found) == {"viewed": [[3, 30, 0.5, 30]]}
    assert store.asked == [("product", ["3", "9"])]


@pytest.mark.parametrize("user", [Rows.known(HISTORY.user.defaults[np.newaxis]), Rows.missing(1, HISTORY.user.width)])
def test_nothing_is_read_for_a_history_without_products(user: Rows) -> None:
    store = Stored(HISTORY)
    found = read_groups(HISTORY, ASK, Features(user, Rows.missing(3, 2)), store.rows)
    assert shown(found) == {"viewed": [[0, 0, 0, 0]]}
    assert not store.asked


def test_rows_of_distinct_ids_are_spread_over_all_and_are_missing_for_none() -> None:
    rows = Rows.known(np.array([[1.0], [2.0]], np.float32))
    some = spread(rows, ["x", "y"], ["y", None, "x", "y"])
    assert some.values[[0, 2, 3]].tolist() == [[2], [1], [2]]
    assert (some.statuses.tolist(), some.complete) == ([FOUND, MISSING, FOUND, FOUND], False)
    whole = spread(rows, ["x", "y"], ["y", "x", "y"])
    assert (whole.values.tolist(), whole.complete) == ([[2], [1], [2]], True)
    assert (whole.values.dtype, whole.statuses.dtype) == (np.float32, np.uint8)
