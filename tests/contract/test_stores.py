"""One suite for every store and every format: whatever wraps it, a store answers like the plain one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, get_args

import msgpack
import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from ranker.demo.servers import cluster
from ranker.errors import StoreUnavailable
from ranker.features.near_cache.cache import CachedStore
from ranker.features.store import MAX_KEYS, RedisStore
from ranker.features.uncached import UncachedStore
from ranker.ranking.gathering import FeatureStore
from ranker.redis.connect import connect
from ranker.redis.connection import RedisConnections
from ranker.vectors.group import Format
from ranker.vectors.rows import ProductId, RowStatus, UserId
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import Encoder, encode, make_keys
from tests.support.near_cache import near
from tests.support.sample import SCHEMA, answering, eventually, product_vector, run, user_vector
from tests.support.typed import ROWS as TYPED_ROWS
from tests.support.typed import USER as TYPED_USER
from tests.support.typed import columns

FOUND, MISSING, WRONG, CORRUPT, UNREAD = RowStatus


def plain(url: str, schema: FeatureSchema = SCHEMA, timeout_s: float = 2.0) -> UncachedStore:
    return UncachedStore(RedisStore(connect(url, size=2, timeout_s=timeout_s), schema), schema)


cached = partial(near, tracking="auto")
STORES = {"redis": plain, "cached": cached, "cached-tiny": partial(cached, size_bytes=1500)}
STORES |= {f"cluster-{name}": make for name, make in STORES.items()}


@pytest.fixture(scope="module")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Cluster of one node, which takes a plain client's commands as well."""
    with cluster(tmp_path_factory.mktemp("cluster") / "nodes", primaries=1) as url:
        yield url.replace("redis://", "redis+cluster://")


@pytest.fixture
def redis_url(request: pytest.FixtureRequest, redis_url: str) -> str:
    """The session's server, or for a store on a Cluster that one."""
    of_cluster = "make" in request.fixturenames and request.node.callspec.params["make"].startswith("cluster-")
    return str(request.getfixturevalue("cluster_url")) if of_cluster else redis_url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url.replace("redis+cluster://", "redis://")) as client:
        client.flushall()
        yield client


def in_format(user: Format, product: Format) -> FeatureSchema:
    """The small schema, stored otherwise; not made from its metadata, where every default is given."""
    data: dict[str, Any] = {
        "user": {"format": user, "features": ["age", {"name": "spend", "default": 1.5}]},
        "product": {"format": product, "features": ["price", {"name": "stock", "default": 7}, "age"]},
    }
    for name, entity in data.items():
        if entity["format"] == "feast":
            entity["feast"] = {"project": "shop", "view": f"{name}s", "join_key": name}
    return FeatureSchema.from_mapping(data)


def write(client: Redis, schema: FeatureSchema, kind: str, name: str, values: Sequence[float]) -> None:
    """Store one vector as the schema's format has it, in one command."""
    entity = schema.user if kind == "user" else schema.product
    (key,) = make_keys(entity, [name])
    if entity.format == "feast":
        fields = {f: b"\x35" + np.float32(v).tobytes() for f, v in zip(entity.fields, values, strict=True)}
        client.hset(key, mapping=fields)  # type: ignore[arg-type]  # bytes are fields, too
    elif entity.format == "hash":
        client.hset(key, mapping={n: repr(v) for n, v in zip(entity.names, values, strict=True)})
    elif entity.format == "msgpack":
        client.set(key, msgpack.packb(list(values)))
    elif entity.format == "json":
        client.set(key, orjson.dumps(dict(zip(entity.names, values, strict=True))))
    elif entity.format == "ranker":
        client.set(key, encode([values], schema.fingerprint)[0])
    else:
        client.set(key, np.array(values, dtype="<f4" if entity.format == "float32" else "<f8").tobytes())


FORMATS: tuple[Format, ...] = get_args(Format)
PAIRS = [(f, f) for f in FORMATS] + [("hash", "ranker"), ("msgpack", "hash")]


@pytest.fixture(params=PAIRS, ids="-".join)
def stored(request: pytest.FixtureRequest) -> FeatureSchema:
    return in_format(*request.param)


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


def test_nobody_has_the_default_row_and_no_key_is_read_for_it(
    make: Callable[..., FeatureStore], redis_client: Redis, redis_url: str
) -> None:
    schema = in_format("ranker", "ranker")
    redis_client.set("product:a", encode([[1, 2, 3]], schema.fingerprint)[0])

    async def test() -> None:
        async with opened(make(redis_url, schema)) as store:
            before = asked_keys(redis_client)
            for _ in range(2):
                (held,) = store.held([(None, ids("a"))])
                features = held or await store.fetch(None, ids("a"))
                assert features.user.complete
                assert features.user.values.tolist() == [[0, 1.5]]
                assert features.products.values.tolist() == [[1, 2, 3]]
                assert store.fresh(None, ids("a")).tolist() in ([False, False], [False, True])
                known = store.remembered(None, ids("a")).user
                assert (known.values.tolist(), known.complete) == ([[0, 1.5]], True)
            assert asked_keys(redis_client) - before == (1 if held is not None else 2)
            if isinstance(store, CachedStore):
                both = store.held([(None, ids("a")), (UserId("u"), ids("a")), (None, ids("none"))])
                assert [features is not None for features in both] == [held is not None, False, False]
                assert held is None or held.held == 1

    run(test)


def asked_keys(client: Redis) -> int:
    stats = client.info("stats")
    return int(stats["keyspace_hits"]) + int(stats["keyspace_misses"])


def test_unusable_vectors_are_marked_and_neighbours_are_not(
    make: Callable[..., FeatureStore], redis_client: Redis, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = FeatureSchema.from_mapping(SCHEMA.to_metadata() | {"user": {"features": ["other"]}})
    assert other.fingerprint != SCHEMA.fingerprint
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
            redis_client.set("product:a", product_vector(1))
            redis_client.set("product:b", product_vector(2))
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
    formats=st.sampled_from([("ranker", "ranker"), ("hash", "hash"), ("float64", "msgpack")]),
)
def test_cached_is_plain(
    redis_client: Redis,
    redis_url: str,
    steps: list[tuple[str, float | None]],
    size_bytes: int,
    formats: tuple[Format, Format],
) -> None:
    redis_client.flushall()
    schema = in_format(*formats)

    async def test() -> None:
        near_store = cached(redis_url, schema, size_bytes=size_bytes)
        async with opened(plain(redis_url, schema)) as direct, opened(near_store) as near:
            for name, value in [*steps, ("a", 1.0)]:
                kind, width = ("user", 2) if name == "u" else ("product", 3)
                if value is None:
                    await announced(near, int(redis_client.delete(f"{kind}:{name}")))
                else:
                    write(redis_client, schema, kind, name, [value] * width)
                    await announced(near, 1)
                for wanted in ("abc", "jihgfedcba", name if name != "u" else "a"):
                    a = await direct.fetch(UserId("u"), ids(*wanted))
                    (b,) = near.held([(UserId("u"), ids(*wanted))])
                    b = b or await near.fetch(UserId("u"), ids(*wanted))
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


# --- every format -------------------------------------------------------------------------------------------------


def test_vectors_of_every_format_come_in_request_order(
    make: Callable[..., FeatureStore], stored: FeatureSchema, redis_client: Redis, redis_url: str
) -> None:
    write(redis_client, stored, "user", "u", [0.1, -3])
    for name, value in (("a", 1.5), ("nul\0 é", 1e-8), ("b", 16777217)):
        write(redis_client, stored, "product", name, [value, value, -value])
    a_list, short, text, string = make_keys(stored.product, ["list", "short", "text", "string"])
    redis_client.lpush(a_list, "1")
    if stored.product.is_hash:
        fields, is_feast = stored.product.fields, stored.product.feast is not None
        number, dear = (b"\x18\x01", b"\x12\x04dear") if is_feast else (b"1", b"dear")
        redis_client.hset(short, mapping=dict.fromkeys(fields[:2], number))  # type: ignore[arg-type]  # bytes are fields
        redis_client.hset(text, mapping=dict(zip(fields, (dear, number, number), strict=True)))  # type: ignore[arg-type]
        redis_client.set(string, product_vector(1))
    else:
        for key, value in ((short, b"[1, 2]"), (text, b"hello"), (string, b"")):
            redis_client.set(key, value)
    other_type = CORRUPT if stored.product.is_hash else MISSING  # MGET does not tell a list from nothing

    async def test() -> None:
        async with opened(make(redis_url, stored)) as store:
            for _ in range(3):  # the later times from the cache, where there is one
                features = await store.fetch(
                    UserId("u"), ids("b", "none", "short", "a", "text", "list", "string", "nul\0 é")
                )
                statuses = [FOUND, MISSING, CORRUPT, FOUND, CORRUPT, other_type, CORRUPT, FOUND]
                assert features.products.statuses.tolist() == statuses
                expected = np.array([[v, v, -v] for v in (16777217, 1.5, 1e-8)], dtype=np.float32)
                assert np.array_equal(features.products.values[[0, 3, 7]], expected)
                assert np.array_equal(features.user.values, np.array([[0.1, -3]], dtype=np.float32))
                assert features.user.complete

    run(test)


def test_change_in_every_format_is_seen_by_the_next_fetch(
    make: Callable[..., FeatureStore], stored: FeatureSchema, redis_client: Redis, redis_url: str
) -> None:
    async def test() -> None:
        async with opened(make(redis_url, stored)) as store:

            async def rows() -> list[list[float] | None]:
                fetched = (await store.fetch(UserId("u"), ids("a", "b"))).products
                return [
                    v if s == FOUND else None for v, s in zip(fetched.values.tolist(), fetched.statuses, strict=True)
                ]

            assert await rows() == [None, None]
            write(redis_client, stored, "product", "a", [1, 2, 3])
            write(redis_client, stored, "product", "b", [4, 5, 6])
            await announced(store, 2)
            assert await rows() == [[1, 2, 3], [4, 5, 6]]
            key_a, key_b = make_keys(stored.product, "ab")
            if stored.product.is_hash:  # one field alone
                stock, age = stored.product.fields[1:]
                redis_client.hset(key_a, stock, b"\x18\x07" if stored.product.feast else b"7")  # type: ignore[arg-type]
                redis_client.hdel(key_b, age)  # type: ignore[arg-type]  # bytes are fields, too
            else:
                write(redis_client, stored, "product", "a", [1, 7, 3])
                redis_client.delete(key_b)
            await announced(store, 2)
            assert await rows() == [[1, 7, 3], None]

    run(test)


@pytest.mark.parametrize("stored_as", ["ranker", "json", "hash"])
def test_typed_rows_arrive_whole_and_older_ones_beside_them(
    make: Callable[..., FeatureStore], redis_client: Redis, redis_url: str, stored_as: Format
) -> None:
    before = {"user": {"features": ["age"]}, "product": {"features": ["price", "stock"]}}
    product = {"format": stored_as, "features": [*TYPED_USER["features"], {"name": "price", "default": 7}]}
    schema = FeatureSchema.from_mapping(
        {"user": {"features": ["age"]}, "product": product} | ({"older": [before]} if stored_as == "ranker" else {})
    )
    rows = columns(schema.product, *([*row, 5.0] for row in TYPED_ROWS[:2]))
    for name, row, values in zip("ab", rows, TYPED_ROWS, strict=False):
        named = dict(zip(schema.product.names, [*values, 5.0], strict=True))
        if stored_as == "hash":
            given = {n: v if isinstance(v, str) else json.dumps(v) for n, v in named.items() if v is not None}
            redis_client.hset(f"product:{name}", mapping=given)
        else:
            (stored,) = Encoder(schema.product, schema.fingerprint).encode(row[None])
            redis_client.set(f"product:{name}", stored if stored_as == "ranker" else orjson.dumps(named))
    old = FeatureSchema.from_mapping(before)
    redis_client.set("user:u", encode([[3]], old.fingerprint if stored_as == "ranker" else schema.fingerprint)[0])
    if stored_as == "ranker":
        redis_client.set("product:old", encode([[9, 1]], old.fingerprint)[0])

    async def test() -> None:
        async with opened(make(redis_url, schema)) as store:
            for _ in range(2):
                features = await store.fetch(UserId("u"), ids("b", "old", "a"))
                assert features.user.values.tolist() == [[3]]
                found = [True, stored_as == "ranker", True]
                assert (features.products.statuses == FOUND).tolist() == found
                assert np.array_equal(features.products.values[[2, 0]], rows, equal_nan=True)
                if found[1]:
                    lifted = schema.product.defaults.copy()
                    lifted[-1] = 9
                    assert np.array_equal(features.products.values[1], lifted, equal_nan=True)

    run(test)


def test_many_requests_of_hashes_share_one_round_trip(redis_client: Redis, redis_url: str) -> None:
    for formats in (("hash", "hash"), ("hash", "float32"), ("ranker", "hash")):
        schema = in_format(*formats)
        redis_client.flushall()
        for i in range(50):
            write(redis_client, schema, "product", str(i), [i, i, i])
        merges: list[tuple[int, int]] = []

        async def test(schema: FeatureSchema = schema, merges: list[tuple[int, int]] = merges) -> None:
            connections = RedisConnections(redis_url, size=2, timeout_s=2.0)
            async with opened(
                UncachedStore(RedisStore(connections, schema, lambda *merge: merges.append(merge)), schema)
            ) as store:
                redis_client.config_resetstat()
                await store.fetch(UserId("u"), ids("1", "2", "3"))
                # What a server reads in one go is one round trip; asking for the count is another.
                assert redis_client.info("stats")["total_reads_processed"] == 2
                wanted = [ids(*map(str, range(i, i + 10))) for i in range(40)]
                redis_client.config_resetstat()
                results = await asyncio.gather(*(store.fetch(UserId(f"u{i}"), w) for i, w in enumerate(wanted)))
                # 40 users and 49 products, each asked for once a round trip, however many requests want it.
                assert redis_client.info("commandstats")["cmdstat_hmget"]["calls"] <= 40 + 2 * 49
                assert sum(requests for requests, _ in merges) == 41
                assert len(merges) <= 3
                for i, features in enumerate(results):
                    assert features.products.values[:, 0].tolist() == list(range(i, i + 10))
                    assert features.user.statuses.tolist() == [MISSING]

        run(test)


def test_refused_command_leaves_the_conversation_in_step(redis_client: Redis, redis_url: str) -> None:
    schema = in_format("ranker", "hash")
    write(redis_client, schema, "user", "u", [1, 2])
    for name in ("a", "b"):
        write(redis_client, schema, "product", name, [1, 2, 3])
    redis_client.execute_command("ACL", "SETUSER", "limited", "on", ">secret", "~*", "+@all", "-hmget")

    async def test() -> None:
        async with opened(plain(f"{redis_url}?username=limited&password=secret", schema)) as store:
            for _ in range(3):
                with pytest.raises(StoreUnavailable, match="hmget"):
                    await store.fetch(UserId("u"), ids("a", "b"))
            redis_client.execute_command("ACL", "SETUSER", "limited", "+hmget")
            await answering(store)
            features = await store.fetch(UserId("u"), ids("b", "a"))
            assert (features.user.values.tolist(), features.products.values.tolist()) == ([[1, 2]], [[1, 2, 3]] * 2)

    try:
        run(test)
    finally:
        redis_client.execute_command("ACL", "DELUSER", "limited")


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
    with redis_client.pipeline(transaction=False) as pipeline:  # a Cluster takes no MSET across slots
        for i in range(n):
            pipeline.set(f"product:{i}", product_vector(i))
        pipeline.execute()

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

        def change(value: float, schema: FeatureSchema = schema, product_key: str = product_key) -> None:
            redis_client.set(product_key.format(id="é1"), encode(np.full((1, 3), value), schema.fingerprint)[0])

        async def test(schema: FeatureSchema = schema, change: Callable[[float], None] = change) -> None:
            async with opened(cached(redis_url, schema)) as store:
                for value in (1.0, 2.0):
                    change(value)
                    await announced(store, 1)
                    features = await store.fetch(UserId("nobody"), ids("é1"))
                    assert features.products.values.tolist() == [[value] * 3]

        run(test)


def test_absent_server_is_unavailable_not_a_hang(make: Callable[..., FeatureStore]) -> None:
    async def test() -> None:
        store = make("unix:///tmp/there-is-no-such-socket")
        with pytest.raises(StoreUnavailable):
            await store.fetch(UserId("u"), ids("a"))
        assert store.remembered(UserId("u"), ids("a", "b")).products.statuses.tolist() == [UNREAD, UNREAD]
        await store.close()

    run(test)
