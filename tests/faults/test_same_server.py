"""Readers and listener behind one address that leads to two servers, and a listener that lags: old for 2 s at most."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager

import pytest
from redis import Redis

from ranker.features.near_cache.cache import CachedStore
from ranker.redis.heartbeat import HEARTBEAT_S
from ranker.vectors.rows import ProductId, UserId
from tests.support.near_cache import near
from tests.support.proxy import HEALTHY, Fault, FaultProxy
from tests.support.redis_process import Server
from tests.support.sample import eventually, product_vector, run, user_vector

A, B = ProductId("a"), ProductId("b")
PROMISED_S = 2 * HEARTBEAT_S
SLACK_S = 1.0
"""The machine may be busy."""
WITHOUT_INFO = ["on", "nopass", "resetkeys", "~*", "-@all", "+mget", "+ping", "+hello", "+client|tracking"]


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    with ExitStack() as stack:
        made = []
        for _ in range(2):
            server = stack.enter_context(Server.running())
            with server.client() as admin:
                admin.mset({"user:u": user_vector(1), "product:a": product_vector(1), "product:b": product_vector(1)})
                admin.execute_command("ACL", "SETUSER", "blind", *WITHOUT_INFO)
            made.append(server)
        yield made[0], made[1]


async def price(store: CachedStore, product: ProductId = A) -> float:
    features = await store.fetch(UserId("u"), [product])
    assert features.unread is None
    return float(features.products.values[0, 0])


async def held(store: CachedStore) -> None:
    """Wait until rows are kept, and one is."""
    await eventually(lambda: store.keeping)
    async with asyncio.timeout(5):
        while store.held([(UserId("u"), [A])]) == [None]:
            await price(store)


async def old_for_s(store: CachedStore, value: float) -> float:
    """Wait until a value is read; return how long that took."""
    began = time.monotonic()
    async with asyncio.timeout(15):
        while await price(store) != value:  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.01)
    return time.monotonic() - began


def of(proxy: FaultProxy, user: str) -> str:
    return proxy.url.replace("://", f"://{user}:x@") if user else proxy.url


@asynccontextmanager
async def holding(server: Server, user: str = "") -> AsyncIterator[tuple[FaultProxy, CachedStore]]:
    """A proxy before a server, and a store behind it that holds rows."""
    async with FaultProxy(server.socket) as proxy:
        store = near(of(proxy, user))
        await store.open()
        await held(store)
        yield proxy, store
        await store.close()


async def set_a(server: Server, value: float) -> None:
    await asyncio.to_thread(server.store, "product:a", product_vector(value))


async def follow(store: CachedStore, there: Server) -> None:
    """Wait for a store that was taken to another server, where the price is 5, and see that it hears of a change."""
    assert await old_for_s(store, 5) < PROMISED_S + SLACK_S
    await held(store)
    await set_a(there, 6)
    assert await old_for_s(store, 6) < PROMISED_S + SLACK_S


@pytest.mark.parametrize("user", ["", "blind"])
@pytest.mark.parametrize("reads", [True, False])
def test_listener_follows_readers_that_were_cut_to_another_server(
    servers: tuple[Server, Server], user: str, reads: bool
) -> None:
    here, there = servers

    async def test() -> None:
        async with holding(here, user) as (proxy, store):
            await set_a(there, 5)
            proxy.target = there.socket
            proxy.cut("reading")
            if reads:  # otherwise all that is asked for is held, and nobody opens a connection
                await price(store, B)
            await follow(store, there)
            await held(store)

    run(test, 40)


def connected(server: Server) -> tuple[int, int]:
    """Return how many connections a server announces changes to, and how many others it has."""
    with server.client() as admin:
        listening = ["t" in client["flags"] for client in admin.client_list()]
    return sum(listening), listening.count(False) - 1


@pytest.mark.parametrize("user", ["", "blind"])
def test_listener_follows_one_failover_after_another_while_nothing_is_read(
    servers: tuple[Server, Server], user: str
) -> None:
    here, there = servers

    async def test() -> None:
        async with holding(here, user) as (proxy, store):
            for server, other in ((there, here), (here, there), (there, here)):
                proxy.target = server.socket
                proxy.cut("reading")
                await eventually(lambda server=server: min(connected(server)) == 1)
                assert connected(other)[0] == 0
            await eventually(lambda: store.keeping)

    run(test, 40)


@pytest.mark.parametrize("user", ["", "blind"])
def test_readers_follow_a_listener_that_was_cut_to_another_server(servers: tuple[Server, Server], user: str) -> None:
    here, there = servers

    async def test() -> None:
        async with holding(here, user) as (proxy, store):
            await set_a(there, 5)
            proxy.target = there.socket
            proxy.cut("listening")
            await eventually(lambda: not store.keeping)
            await follow(store, there)

    run(test, 40)


def test_readers_that_were_cut_and_lead_where_they_led_cost_no_cached_row(servers: tuple[Server, Server]) -> None:
    async def test() -> None:
        async with holding(servers[0]) as (proxy, store):
            opened = proxy.accepted
            proxy.cut("reading")
            await price(store, B)
            await eventually(lambda: proxy.accepted > opened)
            assert store.keeping
            assert store.held([(UserId("u"), [A])]) != [None]

    run(test)


def test_listener_that_lags_is_given_up(servers: tuple[Server, Server]) -> None:
    server = servers[0]

    async def test() -> None:
        async with FaultProxy(server.socket) as proxy:
            store = near(proxy.url)
            await store.open()
            await held(store)
            proxy.fault = Fault(bytes_per_s=1000, on="listening")
            with server.client() as admin:
                flood = asyncio.create_task(asyncio.to_thread(_trickle, admin, 4.0))
                await asyncio.sleep(0.5)  # more is announced than gets through
                await set_a(server, 5)
                assert await old_for_s(store, 5) < PROMISED_S + SLACK_S
                await flood
            proxy.fault = HEALTHY
            await held(store)
            await store.close()

    run(test, 40)


def _trickle(admin: Redis, seconds: float) -> None:
    """Change a key after another, each announced alone: something arrives all the time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        admin.set("product:none", b"")
        time.sleep(0.002)


def _flood(admin: Redis, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with admin.pipeline(transaction=False) as pipeline:
            for i in range(100):
                pipeline.set(f"product:none-{i}", b"")
            pipeline.execute()
        time.sleep(0.05)


def test_busy_listener_that_keeps_up_is_kept(servers: tuple[Server, Server]) -> None:
    server = servers[0]

    async def test() -> None:
        async with FaultProxy(server.socket) as proxy:
            store = near(proxy.url)
            await store.open()
            await held(store)
            opened = proxy.accepted
            with server.client() as admin:
                await asyncio.to_thread(_flood, admin, 3 * HEARTBEAT_S)
            assert store.keeping
            assert store.held([(UserId("u"), [A])]) != [None]
            assert proxy.accepted == opened
            await store.close()

    run(test, 40)


def test_swapped_database_is_noticed(servers: tuple[Server, Server]) -> None:
    server = servers[0]

    async def test() -> None:
        store = near(server.url)
        await store.open()
        with server.client() as admin, server.client() as other:
            other.execute_command("SELECT", 1)
            for value in (5.0, 6.0):
                await held(store)
                with other.pipeline(transaction=False) as pipeline:
                    pipeline.execute_command("SELECT", 1)
                    pipeline.mset({"product:a": product_vector(value), "user:u": user_vector(1)})
                    pipeline.execute()
                await asyncio.sleep(HEARTBEAT_S)  # nothing of it is cached or announced
                assert await price(store) != value
                admin.execute_command("SWAPDB", 0, 1)
                assert await old_for_s(store, value) < PROMISED_S + SLACK_S
        await store.close()

    run(test, 40)


def test_proxy_that_hangs_up_on_info_is_served_without(servers: tuple[Server, Server]) -> None:
    async def test() -> None:
        async with FaultProxy(servers[0].socket) as proxy:
            proxy.unknown = b"\r\nINFO\r\n"
            store = near(proxy.url)
            await store.open()
            await held(store)
            await set_a(servers[0], 5)
            assert await old_for_s(store, 5) < PROMISED_S + SLACK_S
            await store.close()

    run(test, 40)
