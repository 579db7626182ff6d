"""Side information of histories: whose ids, in how many round trips, from which rows, padded how."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from redis import Redis

from ranker import FeatureWriter
from ranker.features.groups.grouped import GroupedRows
from ranker.features.groups.rows import read_groups
from ranker.features.groups.side import SideRows
from ranker.features.near_cache.cache import CachedStore
from ranker.ingest.read_back import read_rows
from ranker.ranking.matrix import GroupColumns
from ranker.vectors.feature.shown import show
from ranker.vectors.feature.values import parse
from ranker.vectors.rows import Ask, Features, ProductId, Rows, RowStatus, UserId
from ranker.vectors.schema import FeatureSchema
from tests.support import grouped_rows
from tests.support.grouped_rows import Store, fetch, held, uncached
from tests.support.near_cache import near
from tests.support.sample import eventually

BRAND = {"name": "brand", "type": "category", "vocabulary": ["acme", "globex"], "default": 1}
DATA: dict[str, Any] = {
    "user": {"features": ["age", {"name": "viewed", "type": "product", "length": 4}]},
    "product": {
        "features": ["price", {"name": "style", "shape": [2], "default": 0.5}, {"name": "no", "type": "int64"}, BRAND]
    },
    "context": {"features": ["hour", {"name": "clicked", "type": "product", "length": 2, "missing": "default"}]},
    "productContext": {"features": ["position"]},
    "groups": {
        "live": {
            "per": "user",
            "key": "live:{userId}",
            "features": ["clicks", {"name": "seen", "type": "product", "length": 2}],
        },
        "seller": {"per": "product", "key": "seller:{product.no}", "features": ["rating"]},
    },
    "inputs": {
        "a": ["viewed.style", "user.viewed.no", "viewed.brand"],
        "b": "clicked.no",
        "c": "seen.style",
        "d": "live.seen.price",
    },
}
SCHEMA = FeatureSchema.from_mapping(DATA)
BIG = 1 << 40


def fill(client: Redis, url: str) -> None:
    """Write two users, products 1 to 4, and what one of the users saw a moment ago."""
    client.flushall()
    with FeatureWriter(url, SCHEMA) as writer:
        histories = [[3, 9, 3, 1], [2]]
        writer.write_users(["u", "v"], pd.DataFrame({"age": [30.0, 40.0], "viewed": histories}))
        products = {
            "price": [10.0, 20.0, 30.0, 40.0],
            "style": [[1.0, 1.5], [2.0, 2.5], [3.0, 3.5], [4.0, 4.5]],
            "no": [BIG + 1, BIG + 2, BIG + 3, BIG + 4],
            "brand": ["acme", "acme", "acme", "globex"],
        }
        writer.write_products(["1", "2", "3", "4"], pd.DataFrame(products))
        writer.write_group("live", ["u"], pd.DataFrame({"clicks": [5.0], "seen": [[4]]}))
        writer.write_group("seller", [str(BIG + 1)], pd.DataFrame({"rating": [4.5]}))


EXPECTED = {
    "viewed": {
        "style": [[3.0, 3.5], [0.5, 0.5], [3.0, 3.5], [1.0, 1.5]],
        "no": [BIG + 3, 0, BIG + 3, BIG + 1],
        "brand": ["acme", "globex", "acme", "acme"],
    },
    "clicked": {"no": [BIG + 2]},
    "seen": {"style": [[4.0, 4.5]], "price": [40.0]},
}
OF_NOBODY: dict[str, dict[str, list[Any]]] = {
    "viewed": {"style": [], "no": [], "brand": []},
    "clicked": {"no": [BIG + 2]},
    "seen": {"style": [], "price": []},
}


def asking(user: str | None = "u", *products: str, clicked: tuple[int, ...] = (2,)) -> Ask:
    """A request for products, by default 1 and 2, that brings what was clicked."""
    ids = [ProductId(i) for i in products or ("1", "2")]
    context = np.tile(SCHEMA.defaults[SCHEMA.stored_width :], (len(ids), 1))
    assert SCHEMA.context is not None
    at = SCHEMA.context.slices["clicked"]
    context[:, at] = parse(SCHEMA.context.features[1], list(clicked))
    return Ask(None if user is None else UserId(user), ids, None, context)


def with_store(
    make: Callable[..., Store],
    url: str,
    test: Callable[[Store, GroupedRows], Awaitable[None]],
    schema: FeatureSchema = SCHEMA,
) -> None:
    grouped_rows.with_store(make, url, schema, test)


def shown(features: Features, schema: FeatureSchema = SCHEMA) -> dict[str, dict[str, list[Any]]]:
    """The side information of a request as people read it."""
    assert features.groups is not None
    found = {}
    for name, side in schema.side_information.items():
        (row,) = features.groups[name].values
        found[name] = {feature.name: show(feature, row[side.slices[feature.name]]) for feature in side.features}
    return found


@pytest.mark.parametrize("make", [near, uncached])
def test_products_of_each_history_are_looked_up_by_their_ids(
    make: Callable[..., Store], redis_url: str, redis_client: Redis
) -> None:
    fill(redis_client, redis_url)

    async def test(store: Store, rows: GroupedRows) -> None:
        assert shown(await fetch(store, rows, asking())) == EXPECTED

    with_store(make, redis_url, test)


def test_places_behind_a_history_are_zero_in_the_matrix_and_all_rows_have_it(
    redis_url: str, redis_client: Redis
) -> None:
    fill(redis_client, redis_url)

    async def test(store: Store, rows: GroupedRows) -> None:
        ask = asking("v", "1", "2", "4")
        features = await fetch(store, rows, ask)
        matrix = GroupColumns(SCHEMA).fill(ask.context, features)
        assert matrix is not None
        ((_, style), *_) = SCHEMA.columns_of("viewed")
        columns = slice(style.start - SCHEMA.stored_width, style.stop - SCHEMA.stored_width)
        assert matrix[:, columns].tolist() == [[1.0, 2.0, 2.5, 0, 0, 0, 0, 0, 0]] * 3

    with_store(near, redis_url, test)


@pytest.mark.parametrize("make", [near, uncached])
def test_histories_of_all_kinds_beside_groups_take_two_round_trips(
    make: Callable[..., Store], redis_url: str, redis_client: Redis
) -> None:
    fill(redis_client, redis_url)

    async def test(store: Store, rows: GroupedRows) -> None:
        redis_client.config_resetstat()
        features = await fetch(store, rows, asking())
        assert shown(features) == EXPECTED
        assert features.groups is not None
        assert features.groups["seller"].statuses.tolist() == [0, 1]
        assert redis_client.info("commandstats")["cmdstat_mget"]["calls"] == 2

    with_store(make, redis_url, test)


def test_requests_of_a_round_have_their_own_from_memory_until_a_product_of_a_history_changes(
    redis_url: str, redis_client: Redis
) -> None:
    fill(redis_client, redis_url)

    async def test(store: Store, rows: GroupedRows) -> None:
        asked = asking(), asking("v", "2", clicked=(4, 3)), asking(None, "1", clicked=())
        first = [shown(await fetch(store, rows, ask)) for ask in asked]
        assert first[1]["viewed"]["style"] == [[2.0, 2.5]]
        assert first[1]["clicked"]["no"] == [BIG + 4, BIG + 3]
        assert first[2]["clicked"]["no"] == []
        redis_client.config_resetstat()
        assert isinstance(store, CachedStore)
        hits, misses = store.hits, store.misses
        again = held(store, rows, *asked)
        # Users and products, live groups and sellers, and what is in the histories: 4 + 1 + 1, 1 + 2, and 0.
        assert store.hits - hits == (3 + 3 + 6) + (2 + 2 + 3) + (1 + 2)
        assert [features and shown(features) for features in again] == first
        assert store.misses == misses
        assert "cmdstat_mget" not in redis_client.info("commandstats")
        # Product 3 is in two of the histories and is none of the candidates.
        redis_client.delete("product:3")
        await eventually(lambda: held(store, rows, *asked)[:2] == [None, None])
        assert held(store, rows, asked[2]) != [None]
        changed = shown(await fetch(store, rows, asked[0]))
        assert changed["viewed"]["style"] == [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [1.0, 1.5]]

    with_store(near, redis_url, test)


def test_product_of_a_history_is_held_once_for_rankings_and_for_histories(redis_url: str, redis_client: Redis) -> None:
    fill(redis_client, redis_url)

    async def test(store: Store, rows: GroupedRows) -> None:
        assert isinstance(store, CachedStore)
        await fetch(store, rows, asking("u", "1"))
        assert store.entries["product"] == 5  # 1, 2, 3, 4 and 9, which is not there
        assert (await store.fetch(None, [ProductId("4")])).held == 1

    with_store(near, redis_url, test)


@pytest.mark.parametrize("make", [near, uncached])
def test_nobody_and_a_user_without_features_have_an_empty_history(
    make: Callable[..., Store], redis_url: str, redis_client: Redis
) -> None:
    fill(redis_client, redis_url)

    async def test(store: Store, rows: GroupedRows) -> None:
        for ask in (asking(None), asking("unknown")):
            for features in (await fetch(store, rows, ask), *held(store, rows, ask)):
                assert features is None or shown(features) == OF_NOBODY

    with_store(make, redis_url, test)


def test_user_who_must_have_a_group_and_lacks_it_has_an_empty_history(redis_url: str, redis_client: Redis) -> None:
    fill(redis_client, redis_url)
    live = DATA["groups"]["live"]
    strict = live | {"features": [{"name": "clicks", "missing": "refuse"}, live["features"][1]]}
    schema = FeatureSchema.from_mapping(DATA | {"groups": DATA["groups"] | {"live": strict}})

    async def test(store: Store, rows: GroupedRows) -> None:
        first = await fetch(store, rows, asking("v"))
        (again,) = held(store, rows, asking("v"))
        assert again is not None
        for features in (first, again):
            assert not features.user.complete
            assert shown(features, schema) == OF_NOBODY

    with_store(near, redis_url, test, schema)


def test_what_is_remembered_of_histories_stands_in_while_redis_is_away(redis_url: str, redis_client: Redis) -> None:
    fill(redis_client, redis_url)

    async def test(store: Store, rows: GroupedRows) -> None:
        ask = asking()
        await fetch(store, rows, ask)
        assert isinstance(store, CachedStore)
        store.changed(None)  # all of it may be old
        assert held(store, rows, ask) == [None]
        assert shown(rows.remember(ask, store.remembered(ask.user_id, ask.product_ids))) == EXPECTED

    with_store(near, redis_url, test)


def test_tools_read_the_same_as_the_service(redis_url: str, redis_client: Redis) -> None:
    fill(redis_client, redis_url)
    ask = asking()
    read = partial(read_rows, redis_client, SCHEMA)
    features = Features(read("user", ["u"]), read("product", ask.product_ids))
    assert shown(read_groups(SCHEMA, ask, features, read)) == EXPECTED


def test_history_from_memory_is_not_given_where_one_of_its_products_is_not_held(
    redis_url: str, redis_client: Redis
) -> None:
    fill(redis_client, redis_url)

    async def test(store: Store, rows: GroupedRows) -> None:
        await fetch(store, rows, asking("v", "2"))
        assert held(store, rows, asking("v", "2")) != [None]
        assert held(store, rows, asking("v", "2"), asking("v", "2", clicked=(3,)))[1] is None
        assert held(store, rows, asking("v", "2", clicked=(3,)), asking("v", "2"))[1] is not None

    with_store(near, redis_url, test)


def test_what_lies_in_a_row_that_was_not_found_is_no_history() -> None:
    values = np.full((1, SCHEMA.user.width), 2.0, np.float32)
    for status, wanted in ((RowStatus.FOUND, 2), (RowStatus.CORRUPT, 0), (RowStatus.MISSING, 0)):
        user = Rows(values, np.array([status], np.uint8), complete=status is RowStatus.FOUND)
        (ids,) = SideRows(SCHEMA, "viewed").ids([asking()], [Features(user, Rows.missing(2, 1))], [{}])
        assert len(ids) == wanted


def test_request_that_brings_nothing_or_has_no_stored_features_has_no_history() -> None:
    assert SideRows(SCHEMA, "clicked").ids([asking()._replace(context=None), asking()], [None] * 2, [{}] * 2) == [
        [],
        ["2"],
    ]
    assert SideRows(SCHEMA, "viewed").ids([asking()], [None], [{}]) == [[]]


def test_histories_of_a_schema_without_groups_are_held(redis_url: str, redis_client: Redis) -> None:
    fill(redis_client, redis_url)
    schema = FeatureSchema.from_mapping(
        {name: part for name, part in DATA.items() if name != "groups"} | {"inputs": {"a": "viewed.style"}}
    )

    async def test(store: Store, rows: GroupedRows) -> None:
        first = await fetch(store, rows, asking())
        (again,) = held(store, rows, asking())
        for features in (first, again):
            assert features is not None
            assert shown(features, schema) == {"viewed": {"style": EXPECTED["viewed"]["style"]}}
            assert features.groups is not None
            assert features.groups["viewed"].values.dtype == np.float32  # whose digits may be of whole numbers

    with_store(near, redis_url, test, schema)
