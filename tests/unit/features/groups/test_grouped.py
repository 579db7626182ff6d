"""Rows of groups under keys of their own: which keys, in how many round trips, how long they are used."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from redis import Redis

from ranker import FeatureWriter
from ranker.errors import StoreUnavailable
from ranker.features.groups.grouped import GroupedRows
from ranker.features.near_cache.cache import CachedStore
from ranker.features.store import RedisStore
from ranker.features.uncached import UncachedStore
from ranker.vectors.rows import Ask, Features, ProductId, RowStatus, UserId
from ranker.vectors.schema import FeatureSchema
from tests.support import grouped_rows
from tests.support.grouped_rows import Store, held, uncached
from tests.support.groups import DATA, SCHEMA, fill
from tests.support.near_cache import near
from tests.support.sample import eventually, run
from tests.support.unread import REASON, without

FOUND, MISSING, UNREAD = RowStatus.FOUND, RowStatus.MISSING, RowStatus.UNREAD
ASK = Ask(UserId("u"), [ProductId(i) for i in "abc"], {"store": "main"})
STRINGS = {name: group for name, group in DATA["groups"].items() if name != "stock"}
"""Groups whose keys hold strings, which one MGET reads."""


def with_store(
    make: Callable[..., Store], url: str, test: Callable[[Store, GroupedRows], Awaitable[None]], **data: Any
) -> None:
    grouped_rows.with_store(make, url, FeatureSchema.from_mapping(DATA | data), test)


async def fetch(store: Store, rows: GroupedRows, ask: Ask = ASK) -> Features:
    return await grouped_rows.fetch(store, rows, ask)


def values(features: Features, name: str) -> list[list[float] | None]:
    """The rows of a group; None for one that was not found."""
    assert features.groups is not None
    rows = features.groups[name]
    pairs = zip(rows.values.tolist(), rows.statuses.tolist(), strict=True)
    return [row if status == RowStatus.FOUND else None for row, status in pairs]


def statuses(features: Features) -> dict[str, list[int]]:
    """The states of the rows of each group."""
    assert features.groups is not None
    return {name: rows.statuses.tolist() for name, rows in features.groups.items()}


def expect_all(features: Features) -> None:
    assert values(features, "user_live") == [[5.0, 2.0]]
    assert values(features, "seller") == [[4.5, 0.0], None, [4.5, 0.0]]
    assert values(features, "affinity") == [[0.25], None, [0.25]]
    assert values(features, "shop") == [[1.0]]
    assert values(features, "stock") == [[9.0], None, None]


@pytest.mark.parametrize("make", [near, uncached])
def test_keys_are_made_of_the_request_and_of_stored_features(
    make: Callable[..., Store], redis_url: str, redis_client: Redis
) -> None:
    fill(redis_client, redis_url)

    async def test(store: Store, rows: GroupedRows) -> None:
        expect_all(await fetch(store, rows))

    with_store(make, redis_url, test)


@pytest.mark.parametrize("make", [near, uncached])
def test_nobody_has_no_keys_that_a_user_is_part_of(
    make: Callable[..., Store], redis_url: str, redis_client: Redis
) -> None:
    fill(redis_client, redis_url)
    with FeatureWriter(redis_url, SCHEMA) as writer:  # the default's segment
        writer.write_group("shop", ["main:new"], pd.DataFrame({"open": [1.0]}))
    nobody = ASK._replace(user_id=None)

    async def test(store: Store, rows: GroupedRows) -> None:
        for features in (await fetch(store, rows, nobody), *held(store, rows, nobody)):
            if features is None:
                assert store.held([(None, ASK.product_ids)]) == [None]  # nothing is kept here
                continue
            assert features.user.complete
            for of_user in ("user_live", "shop"):
                assert values(features, of_user) == [None]
            assert values(features, "affinity") == [None, None, None]
            assert values(features, "seller") == [[4.5, 0.0], None, [4.5, 0.0]]

    with_store(make, redis_url, test)


@pytest.mark.parametrize("make", [near, uncached])
def test_nobody_is_not_missing_for_lack_of_a_group_that_must_be_there(
    make: Callable[..., Store], redis_url: str, redis_client: Redis
) -> None:
    fill(redis_client, redis_url)
    refusing = {"features": [{"name": "clicks_1h", "missing": "refuse"}, "carts_1h"]}
    groups = DATA["groups"] | {"user_live": DATA["groups"]["user_live"] | refusing}
    nobody, unknown = ASK._replace(user_id=None), ASK._replace(user_id=UserId("unknown"))

    async def test(store: Store, rows: GroupedRows) -> None:
        for ask, is_there in ((nobody, True), (unknown, False)):
            first, again = await fetch(store, rows, ask), held(store, rows, ask)
            remembered = rows.remember(ask, store.remembered(ask.user_id, ask.product_ids))
            for features in filter(None, (first, *again, remembered)):
                assert features.user.complete is is_there
                assert values(features, "user_live") == [None]

    with_store(make, redis_url, test, groups=groups)


@pytest.mark.parametrize("make", [near, uncached])
def test_all_groups_are_read_in_two_round_trips(
    make: Callable[..., Store], redis_url: str, redis_client: Redis
) -> None:
    fill(redis_client, redis_url)

    async def test(store: Store, rows: GroupedRows) -> None:
        redis_client.config_resetstat()
        await fetch(store, rows)
        assert redis_client.info("commandstats")["cmdstat_mget"]["calls"] == 2

    with_store(make, redis_url, test, groups=STRINGS)


def test_second_request_is_answered_from_memory_until_a_key_changes(redis_url: str, redis_client: Redis) -> None:
    fill(redis_client, redis_url)

    async def test(store: Store, rows: GroupedRows) -> None:
        await fetch(store, rows)
        other = Ask(UserId("u"), [ProductId("c"), ProductId("a")], {"store": "main"})
        first, second = held(store, rows, ASK, other)
        assert first is not None
        assert second is not None
        expect_all(first)
        assert values(second, "stock") == [None, [9.0]]
        assert values(second, "seller") == [[4.5, 0.0], [4.5, 0.0]]
        assert first.groups is not None
        assert second.groups is not None
        assert (first.groups["seller"].complete, second.groups["seller"].complete) == (False, True)
        for key in ("user:live:u", f"seller:{1 << 40}", "aff:u:shoes", "shop:main:vip", "stock:a", "seller:7"):
            redis_client.delete(key) if key != "seller:7" else redis_client.set(key, b"RV")
            await eventually(lambda: held(store, rows, ASK) == [None])
            await fetch(store, rows)
        (last,) = held(store, rows, ASK)
        assert last is not None
        assert values(last, "user_live") == [None]
        assert values(last, "seller") == [None, None, None]
        assert last.groups is not None
        assert last.groups["seller"].statuses.tolist() == [1, RowStatus.CORRUPT, 1]

    with_store(near, redis_url, test)


def test_request_of_a_round_is_not_whole_for_lack_of_any_of_its_groups(redis_url: str, redis_client: Redis) -> None:
    fill(redis_client, redis_url)
    c, a = [ProductId("c")], [ProductId("a")]

    async def test(store: Store, rows: GroupedRows) -> None:
        await fetch(store, rows)
        elsewhere, without_stock = Ask(UserId("u"), c, {"store": "east"}), Ask(UserId("u"), a, {"store": "main"})
        redis_client.delete("stock:a")
        await eventually(lambda: held(store, rows, without_stock) == [None])
        found = held(store, rows, elsewhere, without_stock, ASK._replace(product_ids=c))
        assert [one is not None for one in found] == [False, False, True]

    with_store(near, redis_url, test)


def test_hits_misses_and_the_largest_read_of_a_request_are_told(redis_url: str, redis_client: Redis) -> None:
    fill(redis_client, redis_url)

    async def test(store: Store, rows: GroupedRows) -> None:
        first = await fetch(store, rows)
        # A user and three products; one row of the user's, two sellers, two categories, a shop and three stocks.
        assert (store.hits, store.misses) == (0, 4 + 1 + 2 + 2 + 1 + 3)
        assert first.reading is not None
        assert first.reading.keys == 4 + 1 + 3  # which needs nothing that is stored
        second = await fetch(store, rows, ASK._replace(texts={"store": "east"}))
        assert (store.hits, store.misses) == (4 + 1 + 2 + 2 + 3, 13 + 1)
        assert second.reading is not None
        assert (second.reading.requests, second.reading.keys) == (1, 1)
        third = await fetch(store, rows)
        assert (store.hits, store.misses) == (12 + 13, 14)
        assert third.reading is None

    with_store(near, redis_url, test)


def lacking(prefix: str, *, is_cached: bool) -> Callable[[str, FeatureSchema], Store]:
    """Return what makes a store that cannot read keys with a prefix."""

    def make(url: str, schema: FeatureSchema) -> Store:
        connections = without(url, prefix)
        if is_cached:
            return near(url, schema, connections=connections)
        return UncachedStore(RedisStore(connections, schema), schema)

    return make


@pytest.mark.parametrize("is_cached", [True, False])
@pytest.mark.parametrize("prefix", ["user:live:", "seller:", "shop:", "product:"])
def test_request_says_why_some_of_its_rows_could_not_be_read(
    prefix: str, is_cached: bool, redis_url: str, redis_client: Redis
) -> None:
    fill(redis_client, redis_url)

    async def test(store: Store, rows: GroupedRows) -> None:
        assert (await fetch(store, rows)).unread == REASON

    with_store(lacking(prefix, is_cached=is_cached), redis_url, test, groups=STRINGS)


@pytest.mark.parametrize("is_cached", [True, False])
@pytest.mark.parametrize(
    ("prefix", "unread"),
    [
        ("user:live:", {"user_live": [0]}),
        ("user:u", {"shop": [0]}),
        ("seller:", {"seller": [0, 1, 2]}),
        ("product:b", {"seller": [1], "affinity": [1]}),
        ("shop:", {"shop": [0]}),
    ],
)
def test_row_that_could_not_be_read_or_whose_key_has_a_value_that_could_not_is_unread_and_not_missing(
    prefix: str, unread: dict[str, list[int]], is_cached: bool, redis_url: str, redis_client: Redis
) -> None:
    fill(redis_client, redis_url)

    async def test(store: Store, rows: GroupedRows) -> None:
        found = statuses(await fetch(store, rows))
        as_read = {"user_live": [FOUND], "seller": [FOUND, MISSING, FOUND], "affinity": [FOUND, MISSING, FOUND]}
        for name, expected in (as_read | {"shop": [FOUND]}).items():
            at = unread.get(name, [])
            assert found[name] == [UNREAD if i in at else status for i, status in enumerate(expected)]

    with_store(lacking(prefix, is_cached=is_cached), redis_url, test, groups=STRINGS)


@pytest.mark.parametrize("make", [near, uncached])
def test_nothing_is_said_to_be_missing_that_nobody_was_asked_for(
    make: Callable[..., Store], redis_url: str, redis_client: Redis
) -> None:
    fill(redis_client, redis_url)

    async def test(store: Store, rows: GroupedRows) -> None:
        ask = ASK._replace(user_id=None)
        one_each, all_of = [UNREAD], [UNREAD] * 3
        known = statuses(rows.remember(ASK, store.remembered(UserId("u"), ASK.product_ids)))
        by_product = {"seller": all_of, "affinity": all_of, "stock": all_of}
        assert known == by_product | {"user_live": one_each, "shop": one_each}
        of_nobody = statuses(rows.remember(ask, store.remembered(None, ask.product_ids)))
        assert (of_nobody["user_live"], of_nobody["shop"]) == ([MISSING], [MISSING])  # there is no key to ask for

    with_store(make, redis_url, test)


@pytest.mark.parametrize(("prefix", "lacking"), [("seller:", UNREAD), ("none:", MISSING)])
def test_product_lacks_what_its_group_lacks_for_the_same_reason(
    prefix: str, lacking: RowStatus, redis_url: str, redis_client: Redis
) -> None:
    fill(redis_client, redis_url)
    redis_client.delete(f"seller:{1 << 40}")
    refusing = DATA["groups"]["seller"] | {"features": [{"name": "rating", "missing": "refuse"}]}

    async def test(store: Store, rows: GroupedRows) -> None:
        assert (await fetch(store, rows)).products.statuses.tolist() == [lacking] * 3

    def make(url: str, schema: FeatureSchema) -> Store:
        return near(url, schema, connections=without(url, prefix))

    with_store(make, redis_url, test, groups={"seller": refusing})


def test_group_lives_as_long_as_it_says(redis_url: str, redis_client: Redis) -> None:
    fill(redis_client, redis_url)
    groups = {name: group | {"ttl_s": 0 if name == "user_live" else 600} for name, group in DATA["groups"].items()}

    async def test(store: Store, rows: GroupedRows) -> None:
        await fetch(store, rows)
        assert held(store, rows, ASK) == [None]
        redis_client.config_resetstat()
        await fetch(store, rows)
        stats = redis_client.info("commandstats")
        assert stats["cmdstat_mget"]["calls"] == 1
        assert isinstance(store, CachedStore)
        assert store.entries["user_live"] == 0
        assert store.entries["seller"] == 2

    with_store(near, redis_url, test, groups=groups)


def test_requests_of_one_moment_share_the_read_of_a_group(redis_url: str, redis_client: Redis) -> None:
    fill(redis_client, redis_url)

    async def test(store: Store, rows: GroupedRows) -> None:
        redis_client.config_resetstat()
        found = await asyncio.gather(*[fetch(store, rows) for _ in range(5)])
        for features in found:
            expect_all(features)
        assert redis_client.info("commandstats")["cmdstat_mget"]["calls"] <= 2

    with_store(near, redis_url, test)


@pytest.mark.parametrize("make", [near, uncached])
def test_value_that_is_missing_makes_no_key(make: Callable[..., Store], redis_url: str, redis_client: Redis) -> None:
    fill(redis_client, redis_url)
    redis_client.set("seller:0", b"RV")  # what a default would lead to

    async def test(store: Store, rows: GroupedRows) -> None:
        ask = Ask(UserId("nobody"), [ProductId("a"), ProductId("none")], {"store": None})
        seen: list[Features | None] = [await fetch(store, rows, ask)]
        if isinstance(store, CachedStore):
            seen += held(store, rows, ask)  # nothing is to be read, so nothing is missed
        for features in seen:
            assert features is not None
            assert features.groups is not None
            assert features.groups["seller"].statuses.tolist() == [RowStatus.FOUND, RowStatus.MISSING]
            assert features.groups["shop"].statuses.tolist() == [RowStatus.MISSING]

    with_store(make, redis_url, test)


def test_group_that_must_be_there_takes_its_product_with_it(redis_url: str, redis_client: Redis) -> None:
    fill(redis_client, redis_url)
    strict = {
        "seller": DATA["groups"]["seller"] | {"features": [{"name": "rating", "missing": "refuse"}]},
        "live": {"per": "user", "key": "live:{userId}", "features": [{"name": "clicks", "missing": "refuse"}]},
    }
    import pandas as pd

    from ranker import FeatureWriter

    schema = FeatureSchema.from_mapping(DATA | {"groups": strict})
    with FeatureWriter(redis_url, schema) as writer:
        writer.write_group("seller", [str(1 << 40)], pd.DataFrame({"rating": [4.5]}))

    async def test(store: Store, rows: GroupedRows) -> None:
        features = await fetch(store, rows)
        again = held(store, rows, ASK)[0]
        assert again is not None
        for one in (features, again):
            assert one.products.statuses.tolist() == [0, RowStatus.MISSING, 0]
            assert not one.products.complete
            assert one.products.values[:, 0].tolist() == [1, 2, 3]
            assert one.user.statuses.tolist() == [RowStatus.MISSING]

    with_store(near, redis_url, test, groups=strict)


def test_what_is_remembered_of_groups_stands_in_while_redis_is_away(redis_url: str, redis_client: Redis) -> None:
    fill(redis_client, redis_url)

    async def test(store: Store, rows: GroupedRows) -> None:
        await fetch(store, rows)
        assert isinstance(store, CachedStore)
        store.changed(None)  # all of it may be old
        assert held(store, rows, ASK) == [None]
        remembered = rows.remember(ASK, store.remembered(UserId("u"), ASK.product_ids))
        expect_all(remembered)
        assert statuses(remembered)["seller"] == [FOUND, UNREAD, FOUND]  # it may have come to be since

    with_store(near, redis_url, test)


def test_store_that_is_down_fails_a_request_once(redis_url: str) -> None:
    async def test(store: Store, rows: GroupedRows) -> None:
        with pytest.raises(StoreUnavailable):
            await fetch(store, rows)

    schema = SCHEMA

    async def body() -> None:
        store = near("redis://127.0.0.1:1/0", schema, tracking="off")
        try:
            await test(store, GroupedRows(schema, store))
        finally:
            await store.close()

    run(body)


def test_category_and_digits_are_in_a_key_as_they_are_written() -> None:
    from ranker.features.groups.keys import stored_texts
    from ranker.vectors.rows import Rows

    group = FeatureSchema.from_mapping(
        {
            "user": {"features": ["age"]},
            "product": {
                "features": [
                    {"name": "code", "type": "category", "vocabulary": ["x", "y"], "unknown": -1},
                    {"name": "small", "type": "int32"},
                    {"name": "name", "type": "text", "length": 4},
                ]
            },
        }
    ).product
    from tests.support.typed import columns

    matrix = columns(group, ["y", -5, "né"], ["z", 1 << 30, ""])
    rows = [Rows(matrix[i : i + 1], np.zeros(1, np.uint8), complete=True) for i in range(2)]
    texts = [stored_texts(feature, group.slices[feature.name], rows) for feature in group.features]
    assert [*map(list, texts)] == [["y", None], ["-5", str(1 << 30)], ["né", None]]
