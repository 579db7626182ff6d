"""Redis stopped, hung, restarted, locked: every trouble has a bounded, defined end."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from redis import Redis

from ranker.demo.redis import EmbeddedRedis
from ranker.errors import StoreUnavailable
from ranker.features.near_cache.cache import CachedStore
from ranker.features.store import RedisStore
from ranker.features.uncached import UncachedStore
from ranker.redis.connection import RedisConnections
from ranker.redis.invalidation import Tracking
from ranker.vectors.rows import ProductId, UserId
from tests.support.sample import SCHEMA, answering, eventually, product_vector, run

TIMEOUT_S = 0.2


@pytest.fixture
def server(short_path: Path) -> Iterator[EmbeddedRedis]:
    """A server that a test may hurt."""
    made = EmbeddedRedis(short_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def admin(server: EmbeddedRedis) -> Iterator[Redis]:
    with Redis.from_url(server.url) as client:
        yield client


def plain(url: str) -> UncachedStore:
    return UncachedStore(RedisStore(RedisConnections(url, size=2, timeout_s=TIMEOUT_S), SCHEMA), SCHEMA)


def cached(url: str) -> CachedStore:
    return CachedStore(
        RedisStore(RedisConnections(url, size=2, timeout_s=TIMEOUT_S), SCHEMA),
        SCHEMA,
        size_bytes=1 << 20,
        ttl_s=60,
        user_ttl_s=60,
        tracking="auto",
        make_tracking=partial(Tracking, url, timeout_s=TIMEOUT_S),
    )


async def price(store: UncachedStore | CachedStore, product: str = "a") -> float:
    return float((await store.fetch(UserId("u"), [ProductId(product)])).products.values[0, 0])


def test_hung_server_is_given_up_in_time_and_found_again(server: EmbeddedRedis, admin: Redis) -> None:
    admin.mset({f"product:{i}": product_vector(i) for i in range(100)})
    process = int(admin.info("server")["process_id"])

    async def test() -> None:
        store = plain(server.url)
        assert await price(store, "7") == 7
        os.kill(process, signal.SIGSTOP)
        try:
            began = time.monotonic()
            results = await asyncio.gather(*(price(store, str(i)) for i in range(50)), return_exceptions=True)
            assert all(isinstance(r, StoreUnavailable) for r in results)
            assert time.monotonic() - began < 10 * TIMEOUT_S
        finally:
            os.kill(process, signal.SIGCONT)
        # Late replies to what was given up must not be taken for answers to what follows.
        await answering(store)
        assert [await price(store, str(i)) for i in range(100)] == list(range(100))
        await store.close()

    run(test)


def test_impatient_callers_do_not_put_answers_out_of_step(server: EmbeddedRedis, admin: Redis) -> None:
    admin.mset({f"product:{i}": product_vector(i) for i in range(200)})

    async def test() -> None:
        store = plain(server.url)

        async def impatient(i: int) -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.0005 * (i % 5)):
                    await price(store, str(i))

        for _ in range(20):
            patient = [asyncio.create_task(price(store, str(i))) for i in range(0, 200, 2)]
            await asyncio.gather(*(impatient(i) for i in range(1, 200, 2)))
            assert await asyncio.gather(*patient) == list(range(0, 200, 2))
        await store.close()

    run(test)


def test_restarted_server_is_found_again(server: EmbeddedRedis, admin: Redis) -> None:
    admin.set("product:a", product_vector(1))

    async def test() -> None:
        store = plain(server.url)
        await store.open()
        server.stop()
        with pytest.raises(StoreUnavailable):
            await price(store)
        server.start()
        await answering(store)
        assert await price(store) == 1
        server.stop()
        server.start()
        assert await price(store) == 1  # on connections that died unnoticed
        await store.close()

    run(test)


def test_refusals_are_unavailable_and_name_the_reason(server: EmbeddedRedis, admin: Redis) -> None:
    admin.set("product:a", product_vector(1))

    async def test() -> None:
        store = plain(server.url)
        admin.config_set("requirepass", "secret")
        with pytest.raises(StoreUnavailable, match=r"(?i)auth"):
            await price(store)
        trusted = plain(server.url.replace("unix://", "unix://:secret@"))
        assert await price(trusted) == 1
        admin.acl_setuser("blind", enabled=True, nopass=True, keys=["other:*"], commands=["+mget", "+hello", "+ping"])
        blind = plain(server.url.replace("unix://", "unix://blind:x@"))
        with pytest.raises(StoreUnavailable, match="No permissions"):
            await price(blind)
        for each in (store, trusted, blind):
            await each.close()
        admin.config_set("requirepass", "")  # for the fixture, which has to stop it

    run(test)


def test_lost_tracking_is_armed_again_and_nothing_stale_is_shown(server: EmbeddedRedis, admin: Redis) -> None:
    admin.set("product:a", product_vector(1))

    async def test() -> None:
        store = cached(server.url)
        await store.open()
        await eventually(lambda: store.keeping)
        assert await price(store) == 1
        for value in (2, 3, 4):
            admin.client_kill_filter(_type="normal", skipme=True)
            admin.set("product:a", product_vector(value))  # nobody is there to be told
            await eventually(lambda: not store.keeping)
            assert await price(store) == value
            await eventually(lambda: store.keeping)
            assert await price(store) == value
        server.stop()
        await eventually(lambda: not store.keeping)
        assert float(store.remembered(UserId("u"), [ProductId("a")]).products.values[0, 0]) == 4
        server.start()
        await eventually(lambda: store.keeping)
        assert await price(store) == 4
        await store.close()

    run(test)


def test_half_open_tracking_connection_is_noticed(server: EmbeddedRedis, admin: Redis) -> None:
    process = int(admin.info("server")["process_id"])

    async def test() -> None:
        store = cached(server.url)
        await store.open()
        await eventually(lambda: store.keeping)
        os.kill(process, signal.SIGSTOP)
        try:
            await eventually(lambda: not store.keeping, seconds=5)
        finally:
            os.kill(process, signal.SIGCONT)
        await eventually(lambda: store.keeping)
        await store.close()

    run(test)


def test_server_without_tracking_is_said_once_and_the_cache_lives_by_time(
    server: EmbeddedRedis, admin: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    admin.set("product:a", product_vector(1))
    admin.acl_setuser(
        "reader", enabled=True, nopass=True, keys=["user:*", "product:*"], commands=["+mget", "+hello", "+ping"]
    )

    async def test() -> None:
        store = cached(server.url.replace("unix://", "unix://reader:x@"))
        await store.open()
        await eventually(lambda: store.keeping)
        assert await price(store) == 1
        admin.set("product:a", product_vector(2))
        assert await price(store) == 1  # what a time to live means
        await store.close()

    run(test)
    assert [r.name for r in caplog.records] == ["ranker.cache"]
    assert "300 s old" in caplog.text or "60 s old" in caplog.text


def test_no_ranking_is_older_than_its_last_announced_change(server: EmbeddedRedis, admin: Redis) -> None:
    products = [ProductId(str(i)) for i in range(50)]
    admin.mset({f"product:{i}": product_vector(0) for i in products})

    async def test() -> None:
        store = cached(server.url)
        await store.open()
        await eventually(lambda: store.keeping)
        written = dict.fromkeys(products, 0.0)
        announced: dict[str, float] = dict.fromkeys(products, 0.0)
        original = store.changed

        def changed(keys: list[bytes] | None) -> None:
            original(keys)
            for key in keys or ():
                name = key.decode().removeprefix("product:")
                if name in announced:
                    announced[name] = acknowledged[name]

        store.changed = changed  # type: ignore[method-assign,assignment]  # to see when it is told
        acknowledged = dict.fromkeys(products, 0.0)
        checked = 0

        async def write() -> None:
            version = 0.0
            while going_on():
                version += 1
                name = products[int(version) % 50]
                written[name] = version
                await loop.run_in_executor(None, admin.set, f"product:{name}", product_vector(version))
                acknowledged[name] = version

        async def rank() -> None:
            nonlocal checked
            while going_on():
                floor = dict(announced)
                features = await store.fetch(UserId("u"), products)
                for name, value in zip(products, features.products.values[:, 0].tolist(), strict=True):
                    assert value >= floor[name]
                checked += 1
                await asyncio.sleep(0)

        def going_on() -> bool:
            # As much as it takes for the result to mean something, however slow the machine is.
            return loop.time() < end or checked < 100 or store.invalidations < 100

        loop = asyncio.get_running_loop()
        end = loop.time() + SECONDS
        try:
            await asyncio.gather(write(), *(rank() for _ in range(4)))
            await asyncio.sleep(0.1)
            features = await store.fetch(UserId("u"), products)
            assert features.products.values[:, 0].tolist() == [written[name] for name in products]
        finally:
            await store.close()

    run(test, seconds=SECONDS + 60)


SECONDS = float(os.environ.get("STRESS_SECONDS", "3"))
