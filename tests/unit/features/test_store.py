"""What a store of rows asks Redis for: each key once, so many at a time, and of whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis import Redis

from ranker.errors import StoreUnavailable
from ranker.features.store import CONNECTIONS, MAX_KEYS, SHARE_KEYS, RedisStore
from ranker.redis.connect import Connections, connect
from ranker.redis.wire.replies import HashKey
from ranker.scheduling.batching import Call
from ranker.vectors.rows import Key, RowStatus
from ranker.vectors.schema import FeatureSchema
from tests.support.groups import SCHEMA as GROUPED
from tests.support.groups import fill
from tests.support.sample import SCHEMA, eventually, product_vector, run, user_vector

HASHES = FeatureSchema.from_mapping(
    {
        "user": {"features": ["age", {"name": "spend", "default": 1.5}]},
        "product": {"format": "hash", "features": ["price", "stock"]},
    }
)


@asynccontextmanager
async def opened(
    url: str, schema: FeatureSchema = SCHEMA, on_merge: Callable[[int, int], None] | None = None
) -> AsyncIterator[tuple[RedisStore, Connections]]:
    connections = connect(url, size=2, timeout_s=10)
    store = RedisStore(connections, schema, on_merge)
    await store.open()
    try:
        yield store, connections
    finally:
        await store.close()


def note_asked(connections: Connections, gate: asyncio.Event | None = None) -> list[list[Any]]:
    """Return what is asked for from now on, call by call; none is sent before the gate is open."""
    asked: list[list[Any]] = []
    strings, both = connections.mget, connections.mget_and_hmget

    async def mget(keys: Sequence[Key]) -> list[Any]:
        asked.append([*keys])
        if gate is not None:
            await gate.wait()
        return await strings(keys)

    async def mget_and_hmget(keys: Sequence[Key], hashes: Sequence[HashKey]) -> Any:
        asked.append([*keys, *hashes])
        return await both(keys, hashes)

    connections.mget = mget  # type: ignore[method-assign,assignment]  # noted, and passed on
    connections.mget_and_hmget = mget_and_hmget  # type: ignore[method-assign]
    return asked


def test_requests_that_go_out_together_ask_for_each_key_once(redis_client: Redis, redis_url: str) -> None:
    redis_client.mset({"user:u": user_vector(9), "product:a": product_vector(1), "product:b": product_vector(2)})

    async def test() -> None:
        async with opened(redis_url) as (store, connections):
            asked = note_asked(connections)
            both, none, user, alone = await asyncio.gather(
                store.products.read(["b", "a", "b"]),
                store.products.read(["x", "a"]),
                store.users.read(["u"]),
                store.products.read(["b"]),
            )
            await store.products.read(["a", "x"])
        assert asked == [["product:b", "product:a", "product:x", "user:u"], ["product:a", "product:x"]]
        assert both.rows.values[:, 0].tolist() == [2, 1, 2]
        assert none.rows.statuses.tolist() == [RowStatus.MISSING, RowStatus.FOUND]
        assert (none.rows.values[1, 0], user.rows.values[0, 0], alone.rows.values[0, 0]) == (1, 9, 2)

    run(test)


def test_strings_and_hashes_that_go_out_together_are_asked_for_once_each(redis_client: Redis, redis_url: str) -> None:
    for name, price in (("a", 1), ("b", 2)):
        redis_client.hset(f"product:{name}", mapping={"price": price, "stock": 5})

    async def test() -> None:
        async with opened(redis_url, HASHES) as (store, connections):
            asked = note_asked(connections)
            products, again, user = await asyncio.gather(
                store.products.read(["b", "a", "b"]), store.products.read(["x", "a"]), store.users.read(["u", "u"])
            )
        assert [len(call) for call in asked] == [4]
        assert [isinstance(key, HashKey) for key in asked[0]] == [False, True, True, True]
        assert products.rows.values.tolist() == [[2, 5], [1, 5], [2, 5]]
        assert again.rows.statuses.tolist() == [RowStatus.MISSING, RowStatus.FOUND]
        assert again.rows.values[1].tolist() == [1, 5]
        assert user.rows.statuses.tolist() == 2 * [RowStatus.MISSING]

    run(test)


def test_calls_take_so_many_keys_and_so_many_are_out_at_a_time_while_requests_take_turns(redis_url: str) -> None:
    calls: list[Call] = []

    async def test() -> None:
        async with opened(redis_url, on_merge=lambda *call: calls.append(Call(*call))) as (store, connections):
            gate = asyncio.Event()
            asked = note_asked(connections, gate)
            long, many = ([f"{name}{i}" for i in range(2 * MAX_KEYS)] for name in "pq")
            first, second = store.products.begin(long), store.products.begin(many)
            await eventually(lambda: len(asked) == CONNECTIONS)
            late = store.products.begin(["z"])
            assert store.waiting == 3  # two of them in part
            gate.set()
            await asyncio.gather(first.submission.future, second.submission.future, late.submission.future)
            assert store.waiting == 0
            assert len(first.rows().rows) == 2 * MAX_KEYS
        turns = MAX_KEYS // SHARE_KEYS
        assert calls[:CONNECTIONS] == CONNECTIONS * [Call(turns, MAX_KEYS)]
        assert max(len(call) for call in asked) == MAX_KEYS
        assert [key.removeprefix("product:")[0] for key in asked[0][::SHARE_KEYS]] == [*"pqpq"]

    run(test)


def test_each_entity_has_a_reader_of_its_own_keys(redis_client: Redis, redis_url: str) -> None:
    fill(redis_client, redis_url)

    async def test() -> None:
        async with opened(redis_url, GROUPED) as (store, _):
            assert [*store.groups] == [*GROUPED.keyed]
            assert (await store.users.read(["u"])).rows.values.tolist() == [[30, 1]]
            assert (await store.products.read(["b"])).rows.values[0, 0] == 2
            assert (await store.groups["user_live"].read(["u"])).rows.values.tolist() == [[5, 2]]
            assert (await store.groups["stock"].read(["a"])).rows.values.tolist() == [[9]]

    run(test)


def test_unusable_vectors_are_logged_under_the_name_of_their_entity(
    redis_client: Redis, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(redis_client, redis_url)
    redis_client.mset({"user:u": b"RV", "product:b": b"RV", "user:live:u": b"RV"})

    async def test() -> None:
        async with opened(redis_url, GROUPED) as (store, _):
            for reader, entity_id in ((store.users, "u"), (store.products, "b"), (store.groups["user_live"], "u")):
                assert (await reader.read([entity_id])).rows.statuses.tolist() == [RowStatus.CORRUPT]

    run(test)
    said = [record.getMessage() for record in caplog.records if record.name == "ranker.store"]
    assert [message.partition(" vector(s)")[0] for message in said] == ["1 user", "1 product", "1 user_live"]


def test_store_connects_as_it_opens_and_ends_what_is_under_way_as_it_closes(
    redis_client: Redis, redis_url: str
) -> None:
    async def test() -> None:
        before = len(redis_client.client_list())
        connections = connect(redis_url, size=2, timeout_s=10)
        store = RedisStore(connections, SCHEMA)
        await store.open()
        assert connections.opened == 2
        asked = note_asked(connections, asyncio.Event())
        begun = store.products.begin(["a"])
        await eventually(lambda: len(asked) == 1)
        await store.close()
        with pytest.raises(asyncio.CancelledError):
            await begun.submission
        await eventually(lambda: len(redis_client.client_list()) <= before)

    run(test)


def test_store_that_is_down_says_so_without_asking(redis_url: str) -> None:
    async def test() -> None:
        store = RedisStore(connect("redis://127.0.0.1:1/0", size=1, timeout_s=1), SCHEMA)
        store.raise_if_down()  # nothing is known of it yet
        with pytest.raises(StoreUnavailable):
            await store.products.read(["a"])
        with pytest.raises(StoreUnavailable):
            store.raise_if_down()
        await store.close()

    run(test)


def test_schema_without_users_has_a_store_of_products(redis_client: Redis, redis_url: str) -> None:
    schema = FeatureSchema.from_mapping({"product": {"format": "json", "features": ["price"]}})
    redis_client.set("product:a", '{"price": 3}')

    async def test() -> None:
        async with opened(redis_url, schema) as (store, _):
            assert (await store.products.read(["a"])).rows.values.tolist() == [[3]]

    run(test)
