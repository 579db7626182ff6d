"""One suite for every store: whatever wraps it, a store answers like the plain one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from ranker.cache import CachedStore
from ranker.connection import RedisConnections
from ranker.encoding import ProductId, RowStatus, UserId
from ranker.errors import StoreUnavailable
from ranker.schema import FeatureSchema
from ranker.store import MAX_KEYS, FeatureStore, RedisStore
from ranker.tracking import Tracking
from tests.strategies import SCHEMA, eventually, product_vector, run, user_vector

FOUND, MISSING, WRONG, CORRUPT = RowStatus.FOUND, RowStatus.MISSING, RowStatus.WRONG_SCHEMA, RowStatus.CORRUPT


def plain(url: str, schema: FeatureSchema = SCHEMA, timeout_s: float = 2.0) -> RedisStore:
    return RedisStore(RedisConnections(url, size=2, timeout_s=timeout_s), schema)


def cached(
    url: str, schema: FeatureSchema = SCHEMA, *, size_bytes: int = 1 << 20, tracking: str = "auto"
) -> CachedStore:
    return CachedStore(
        plain(url, schema),
        schema,
        size_bytes=size_bytes,
        ttl_s=60,
        user_ttl_s=60,
        tracking=tracking,  # type: ignore[arg-type]
        make_tracking=partial(Tracking, url, timeout_s=2.0),
    )


STORES = {"redis": plain, "cached": cached, "cached-tiny": partial(cached, size_bytes=1500)}


@asynccontextmanager
async def opened(store: FeatureStore) -> AsyncIterator[FeatureStore]:
    await store.open()
    if isinstance(store, CachedStore):
        await eventually(lambda: store.keeping)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(params=STORES, ids=list(STORES))
def make(request: pytest.FixtureRequest, redis_client: Redis) -> Callable[..., FeatureStore]:
    return STORES[request.param]


async def announced(store: FeatureStore, changed_keys: int) -> None:
    """Wait until a cache was told of so many more changes; a plain store needs no telling."""
    if isinstance(store, CachedStore):
        TOLD[store] = TOLD.get(store, 0) + changed_keys
        await eventually(lambda: store.invalidations >= TOLD[store])


TOLD: dict[CachedStore, int] = {}


def ids(*names: str) -> list[ProductId]:
    return [ProductId(n) for n in names]


def test_rows_come_in_request_order_whatever_their_encoding(
    make: Callable[..., FeatureStore], redis_client: Redis, redis_url: str
) -> None:
    redis_client.set("user:u", user_vector(3))
    redis_client.set("product:binary", product_vector(1))
    redis_client.set("product:json", json.dumps([2, 2, 2]))
    redis_client.set("product:nested", json.dumps(json.dumps([4.5, 4.5, 4.5])))
    redis_client.set("product:nul\0 é", product_vector(6))

    async def test() -> None:
        async with opened(make(redis_url)) as store:
            for _ in range(2):  # the second time from the cache, where there is one
                features = await store.fetch(UserId("u"), ids("nested", "binary", "nul\0 é", "json"))
                assert features.user.values.tolist() == [[3, 3]]
                assert features.products.values[:, 0].tolist() == [4.5, 1, 6, 2]
                assert features.user.complete
                assert features.products.complete

    run(test)


def test_unusable_vectors_are_marked_and_neighbours_are_not(
    make: Callable[..., FeatureStore], redis_client: Redis, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = FeatureSchema.from_mapping(SCHEMA.to_metadata() | {"user": {"features": ["other"]}})
    assert other.fingerprint != SCHEMA.fingerprint
    from ranker.encoding import encode

    redis_client.set("product:good", product_vector(1))
    redis_client.set("product:other", encode([[1, 2, 3]], other.fingerprint)[0])
    redis_client.set("product:cut", product_vector(1)[:-1])
    redis_client.set("product:text", "hello")
    redis_client.hset("product:hash", "price", "1")

    async def test() -> None:
        async with opened(make(redis_url)) as store:
            for _ in range(3):
                features = await store.fetch(UserId("nobody"), ids("other", "good", "cut", "none", "text", "hash"))
                assert features.user.statuses.tolist() == [MISSING]
                assert features.products.statuses.tolist() == [WRONG, FOUND, CORRUPT, MISSING, CORRUPT, MISSING]
                assert features.products.values[1].tolist() == [1, 1, 1]

    run(test)
    messages = [r.getMessage() for r in caplog.records if r.name == "ranker.store"]
    assert len(messages) == 2  # one for each kind, not one for each request
    assert any("wrong_schema" in m and "'other'" in m for m in messages)
    assert any("2 product vector(s)" in m and "'cut'" in m for m in messages)


def test_change_is_seen_by_the_next_fetch(
    make: Callable[..., FeatureStore], redis_client: Redis, redis_url: str
) -> None:
    async def test() -> None:
        async with opened(make(redis_url)) as store:

            async def values() -> tuple[list[float], list[int]]:
                features = await store.fetch(UserId("u"), ids("a", "b"))
                return features.products.values[:, 0].tolist(), features.products.statuses.tolist()

            assert (await values())[1] == [MISSING, MISSING]
            redis_client.mset({"product:a": product_vector(1), "product:b": product_vector(2)})
            await announced(store, 2)
            assert await values() == ([1, 2], [FOUND, FOUND])
            redis_client.set("product:b", product_vector(3))
            await announced(store, 1)
            assert await values() == ([1, 3], [FOUND, FOUND])
            redis_client.delete("product:a")
            await announced(store, 1)
            assert (await values())[1] == [MISSING, FOUND]
            redis_client.flushall()
            await announced(store, 1)
            assert (await values())[1] == [MISSING, MISSING]

    run(test)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from("uab") | st.sampled_from("cdefghij"), st.floats(-9, 9, width=32) | st.none()),
        max_size=12,
    ),
    size_bytes=st.sampled_from([1, 1500, 1 << 20]),
)
def test_cached_is_plain(
    redis_client: Redis, redis_url: str, steps: list[tuple[str, float | None]], size_bytes: int
) -> None:
    redis_client.flushall()

    async def test() -> None:
        async with opened(plain(redis_url)) as direct, opened(cached(redis_url, size_bytes=size_bytes)) as near:
            for name, value in [*steps, ("a", 1.0)]:
                write = user_vector if name == "u" else product_vector
                key = "user:u" if name == "u" else f"product:{name}"
                changed = redis_client.delete(key) if value is None else redis_client.set(key, write(value))
                await announced(near, int(changed))
                for wanted in ("abc", "jihgfedcba", name if name != "u" else "a"):
                    a = await direct.fetch(UserId("u"), ids(*wanted))
                    b = near.held(UserId("u"), ids(*wanted)) or await near.fetch(UserId("u"), ids(*wanted))
                    for x, y in ((a.user, b.user), (a.products, b.products)):
                        assert x.statuses.tolist() == y.statuses.tolist()
                        found = x.statuses == FOUND
                        assert x.values[found].tolist() == y.values[found].tolist()

    run(test)


def test_one_request_is_one_command_and_many_merge(redis_client: Redis, redis_url: str) -> None:
    redis_client.mset({f"product:{i}": product_vector(i) for i in range(50)})

    def mgets() -> tuple[int, int]:
        stats = redis_client.info("commandstats")
        return stats.get("cmdstat_mget", {}).get("calls", 0), stats.get("cmdstat_get", {}).get("calls", 0)

    async def test() -> None:
        async with opened(plain(redis_url)) as store:
            redis_client.config_resetstat()
            await store.fetch(UserId("u"), ids(*map(str, range(50))))
            assert mgets() == (1, 0)
            redis_client.config_resetstat()
            wanted = [ids(*map(str, range(i, i + 10))) for i in range(40)]
            results = await asyncio.gather(*(store.fetch(UserId(f"u{i}"), w) for i, w in enumerate(wanted)))
            assert mgets()[0] <= 2
            for i, features in enumerate(results):
                assert features.products.values[:, 0].tolist() == list(range(i, i + 10))

    run(test)


def test_cache_hit_costs_no_command(redis_client: Redis, redis_url: str) -> None:
    redis_client.set("product:a", product_vector(1))

    async def test() -> None:
        async with opened(cached(redis_url)) as store:
            await store.fetch(UserId("u"), ids("a", "unknown"))
            redis_client.config_resetstat()
            for _ in range(10):
                await store.fetch(UserId("u"), ids("a", "unknown"))
            assert "cmdstat_mget" not in redis_client.info("commandstats")

    run(test)


def test_more_keys_than_one_command_takes_come_back_whole(
    make: Callable[..., FeatureStore], redis_client: Redis, redis_url: str
) -> None:
    n = 2 * MAX_KEYS + 7
    redis_client.mset({f"product:{i}": product_vector(i) for i in range(n)})

    async def test() -> None:
        async with opened(make(redis_url)) as store:
            features = await store.fetch(UserId("u"), ids(*map(str, range(n))))
            assert np.array_equal(features.products.values[:, 0], np.arange(n))

    run(test)


def test_bare_keys_and_suffixes_are_followed_and_invalidated(redis_client: Redis, redis_url: str) -> None:
    for user_key, product_key in (("{id}", "{id}"), ("u:{id}", "{id}:p"), ("x{id}", "xy{id}")):
        schema = FeatureSchema.from_mapping(
            {
                "user": {"key": user_key, "features": ["a", "b"]},
                "product": {"key": product_key, "features": list("abc")},
            }
        )
        from ranker.encoding import encode

        def write(value: float, schema: FeatureSchema = schema, product_key: str = product_key) -> None:
            redis_client.set(product_key.format(id="é1"), encode(np.full((1, 3), value), schema.fingerprint)[0])

        async def test(schema: FeatureSchema = schema, write: Callable[[float], None] = write) -> None:
            async with opened(cached(redis_url, schema)) as store:
                for value in (1.0, 2.0):
                    write(value)
                    await announced(store, 1)
                    features = await store.fetch(UserId("nobody"), ids("é1"))
                    assert features.products.values.tolist() == [[value] * 3]

        run(test)


def test_absent_server_is_unavailable_not_a_hang(make: Callable[..., FeatureStore]) -> None:
    async def test() -> None:
        store = make("unix:///tmp/there-is-no-such-socket")
        with pytest.raises(StoreUnavailable):
            await store.fetch(UserId("u"), ids("a"))
        assert store.remembered(UserId("u"), ids("a", "b")).products.statuses.tolist() == [MISSING, MISSING]
        await store.close()

    run(test)
