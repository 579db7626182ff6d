"""What goes wrong between Ranker and Redis: each trouble has one answer, at once, and ends with its cause."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis
from redis.exceptions import ResponseError

from ranker.errors import StoreUnavailable
from ranker.features.store import RedisStore
from ranker.features.uncached import UncachedStore
from ranker.redis.breaker import LONGEST_WAIT_S
from ranker.redis.connection import RedisConnections
from ranker.vectors.rows import Features, ProductId, RowStatus, UserId
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import make_header
from tests.support.proxy import HEALTHY, Fault, FaultProxy
from tests.support.redis_process import Server
from tests.support.sample import SCHEMA, eventually, product_vector, run, user_vector

TIMEOUT_S = 0.25
RECOVERY_S = 3.0
"""Answers are promised to be full within a second, which `make chaos` measures; here the machine may be busy."""
PRODUCTS = [ProductId(str(i)) for i in range(50)]
PRICES = list(range(50))


HUGE = 50 << 20
CLEAR_REFS = Path("/proc/self/clear_refs")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server.running() as made:
        stock(made)
        yield made


def stock(server: Server) -> None:
    with server.client() as client:
        client.mset({f"product:{i}": product_vector(i) for i in PRICES} | {"user:u": user_vector(1)})


def store_on(url: str, timeout_s: float = TIMEOUT_S) -> UncachedStore:
    return UncachedStore(RedisStore(RedisConnections(url, size=2, timeout_s=timeout_s), SCHEMA), SCHEMA)


@asynccontextmanager
async def through_proxy(server: Server) -> AsyncIterator[tuple[FaultProxy, RedisStore]]:
    async with FaultProxy(server.socket) as proxy:
        store = store_on(proxy.url)
        await store.open()
        yield proxy, store
        await store.close()


async def prices(store: RedisStore) -> list[float]:
    features: Features = await store.fetch(UserId("u"), PRODUCTS)
    assert features.products.complete
    return [float(v) for v in features.products.values[:, 0]]


async def recovery_s(store: RedisStore) -> float:
    """Wait for a full answer, and return how long it took; then see that it is right, and stays so."""
    began = time.monotonic()
    async with asyncio.timeout(10):
        while True:
            with suppress(StoreUnavailable):
                assert await prices(store) == PRICES
                break
            await asyncio.sleep(0.005)
    took = time.monotonic() - began
    for answer in await asyncio.gather(*(prices(store) for _ in range(20))):
        assert answer == PRICES
    return took


REFUSALS = {
    "LOADING": b"-LOADING Redis is loading the dataset in memory\r\n",
    "READONLY": b"-READONLY You can't write against a read only replica.\r\n",
    "MOVED": b"-MOVED 3999 127.0.0.1:6381\r\n",
    "ASK": b"-ASK 3999 127.0.0.1:6381\r\n",
    "CROSSSLOT": b"-CROSSSLOT Keys in request don't hash to the same slot\r\n",
    "CLUSTERDOWN": b"-CLUSTERDOWN The cluster is down\r\n",
    "MASTERDOWN": b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
    "BUSY": b"-BUSY Redis is busy running a script.\r\n",
    "OOM": b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    "NOAUTH": b"-NOAUTH Authentication required.\r\n",
    "WRONGPASS": b"-WRONGPASS invalid username-password pair or user is disabled.\r\n",
    "NOPERM": b"-NOPERM User ranker has no permissions to run the 'mget' command\r\n",
    "TRYAGAIN": b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
    "ERR": b"-ERR max number of clients reached\r\n",
}
NONSENSE = {
    "a status": b"+OK\r\n",
    "a number": b":7\r\n",
    "one string": b"$2\r\nhi\r\n",
    "nothing": b"$-1\r\n",
    "no array": b"*-1\r\n",
    "an empty array": b"*0\r\n",
    "too few values": b"*1\r\n$-1\r\n",
    "too many values": b"*52\r\n" + b"$-1\r\n" * 52,
    "numbers": b"*51\r\n" + b":1\r\n" * 51,
    "errors inside": b"*51\r\n" + b"-ERR no\r\n" * 51,
    "arrays inside": b"*51\r\n" + b"*0\r\n" * 51,
    "an HTTP server": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("code", REFUSALS)
def test_refusal_is_named_and_asked_about_by_probes_only(server: Server, code: str) -> None:
    async def test() -> None:
        async with through_proxy(server) as (proxy, store):
            assert await prices(store) == PRICES
            proxy.fault = Fault(answer=REFUSALS[code])
            with pytest.raises(StoreUnavailable, match=code if code != "ERR" else "max number of clients"):
                await prices(store)
            asked = proxy.requests
            results = await asyncio.gather(*(prices(store) for _ in range(200)), return_exceptions=True)
            assert all(isinstance(r, StoreUnavailable) for r in results)
            assert proxy.requests - asked <= 2  # a probe, perhaps with a new connection's greeting
            proxy.fault = HEALTHY
            assert await recovery_s(store) < RECOVERY_S

    run(test)


@pytest.mark.parametrize("reply", NONSENSE)
def test_reply_of_another_kind_is_refused_and_its_connection_given_up(server: Server, reply: str) -> None:
    async def test() -> None:
        async with through_proxy(server) as (proxy, store):
            proxy.fault = Fault(answer=NONSENSE[reply])
            with pytest.raises(StoreUnavailable):
                await prices(store)
            proxy.fault = HEALTHY
            opened = proxy.accepted
            assert await recovery_s(store) < RECOVERY_S
            assert proxy.accepted > opened

    run(test)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(hang=True),
        Fault(delay_s=5),
        Fault(bytes_per_s=300),
        Fault(cut_after=0),
        Fault(cut_after=1),
        Fault(cut_after=700),
        Fault(garbage=True),
        Fault(refuse=True),
    ],
    ids=["hang", "late", "drip", "cut before", "cut in the head", "cut in the middle", "garbage", "refuse"],
)
def test_broken_conversation_ends_in_time_and_no_value_is_mixed_up(server: Server, fault: Fault) -> None:
    async def test() -> None:
        async with through_proxy(server) as (proxy, store):
            assert await prices(store) == PRICES
            proxy.fault = fault
            if fault.refuse:
                proxy.cut()
            began = time.monotonic()
            results = await asyncio.gather(*(prices(store) for _ in range(50)), return_exceptions=True)
            assert all(isinstance(r, StoreUnavailable) for r in results)
            assert time.monotonic() - began < 8 * TIMEOUT_S
            await asyncio.sleep(0.2)  # several probes meet the fault, too
            proxy.fault = HEALTHY
            assert await recovery_s(store) < RECOVERY_S

    run(test)


def test_delay_within_the_bound_is_no_failure(server: Server) -> None:
    async def test() -> None:
        async with FaultProxy(server.socket) as proxy:
            connections = RedisConnections(proxy.url, size=2, timeout_s=5.0)
            store = UncachedStore(RedisStore(connections, SCHEMA), SCHEMA)
            await store.open()
            proxy.fault = Fault(delay_s=0.05)
            assert await prices(store) == PRICES
            proxy.fault = Fault(bytes_per_s=20_000)
            assert await prices(store) == PRICES
            assert connections.breaker.openings == 0
            await store.close()

    run(test)


def test_failover_to_another_server_is_followed(server: Server, short_path: Path) -> None:
    other = Server(short_path)
    other.start()
    stock(other)

    async def test() -> None:
        async with through_proxy(server) as (proxy, store):
            assert await prices(store) == PRICES
            other.suspend()  # the new primary is not up yet when the old one goes
            proxy.target = other.socket
            proxy.cut()
            with pytest.raises(StoreUnavailable):
                await prices(store)
            other.resume()
            assert await recovery_s(store) < RECOVERY_S

    try:
        run(test)
    finally:
        other.kill()


def test_fleet_does_not_stampede_on_a_server_that_is_down_or_back(server: Server) -> None:
    async def test() -> None:
        async with FaultProxy(server.socket) as proxy:
            fleet = [store_on(proxy.url) for _ in range(20)]
            await asyncio.gather(*(store.open() for store in fleet))
            assert proxy.accepted == 40
            proxy.fault = Fault(refuse=True)
            proxy.cut()
            began = time.monotonic()
            while time.monotonic() - began < 1.5:
                for store in fleet:
                    with pytest.raises(StoreUnavailable):
                        await prices(store)
                await asyncio.sleep(0.001)
            took = time.monotonic() - began
            # Probes wait 10 ms at least, and twice as long each time, up to half of the longest wait at least.
            assert proxy.accepted - 40 <= 20 * (8 + took / (LONGEST_WAIT_S / 2))
            proxy.fault = HEALTHY
            down = proxy.accepted
            assert max(await asyncio.gather(*(recovery_s(store) for store in fleet))) < RECOVERY_S
            assert proxy.accepted - down <= 20 * 4  # a probe cut short at the change, the probe, and two to read
            for store in fleet:
                await store.close()

    run(test)


def test_breaker_opens_and_closes_once_for_one_outage(server: Server) -> None:
    async def test() -> None:
        async with FaultProxy(server.socket) as proxy:
            connections = RedisConnections(proxy.url, size=2, timeout_s=TIMEOUT_S)
            store = UncachedStore(RedisStore(connections, SCHEMA), SCHEMA)
            await store.open()
            proxy.fault = Fault(answer=REFUSALS["BUSY"])
            for _ in range(100):
                with pytest.raises(StoreUnavailable):
                    await prices(store)
            assert (connections.breaker.openings, connections.breaker.is_open) == (1, True)
            proxy.fault = HEALTHY
            await eventually(lambda: not connections.breaker.is_open)
            assert await prices(store) == PRICES
            assert connections.breaker.openings == 1
            assert connections.failures["refusal"] >= 1
            await store.close()

    run(test)


@given(reply=st.binary(max_size=200) | st.binary(max_size=60).map(lambda b: b"*4\r\n" + b"$4\r\nabcd\r\n" * 3 + b))
@settings(max_examples=60)
def test_any_bytes_from_the_server_are_unavailable_or_rows(server: Server, reply: bytes) -> None:
    async def test() -> None:
        async with FaultProxy(server.socket) as proxy:
            store = store_on(proxy.url, timeout_s=0.05)
            proxy.fault = Fault(answer=reply)
            try:
                features = await store.fetch(UserId("u"), PRODUCTS[:3])
            except StoreUnavailable:
                pass
            else:
                assert features.products.values.shape == (3, SCHEMA.product.width)
                assert features.products.statuses.all()
            await store.close()

    run(test)


def test_loading_server_is_named_and_waited_for(short_path: Path) -> None:
    slow = Server(short_path, key_load_delay="3000", loading_process_events_interval_bytes="1024")
    slow.start()
    stock(slow)

    async def test() -> None:
        store = store_on(slow.url)
        with slow.client() as admin, slow.client(20) as loader:
            admin.mset({f"other:{i}": "x" * 50 for i in range(200)})
            assert await prices(store) == PRICES
            loading = asyncio.create_task(asyncio.to_thread(loader.execute_command, "DEBUG", "RELOAD"))
            await refused(store, "LOADING")
            await loading
            assert await recovery_s(store) < RECOVERY_S
        await store.close()

    try:
        run(test)
    finally:
        slow.kill()


def test_busy_script_is_named_and_its_end_noticed(server: Server) -> None:
    endless = "while true do end"

    async def test() -> None:
        store = store_on(server.url)
        await store.open()
        with server.client() as admin, server.client() as victim:
            admin.config_set("busy-reply-threshold", "10")
            script = asyncio.create_task(asyncio.to_thread(_run, victim, endless))
            try:
                await refused(store, "BUSY")
            finally:
                await asyncio.to_thread(admin.script_kill)
                await script
            assert await recovery_s(store) < RECOVERY_S
        await store.close()

    run(test)


def _run(client: Redis, script: str) -> None:
    with suppress(ResponseError):  # killed
        client.eval(script, 0)


async def refused(store: RedisStore, code: str) -> None:
    """Ask until the refusal is one with this code."""
    async with asyncio.timeout(5):
        while True:
            try:
                await prices(store)
            except StoreUnavailable as err:
                if err.reason.startswith(code):
                    return
            await asyncio.sleep(0.005)


@pytest.mark.skipif(not CLEAR_REFS.exists(), reason="the peak of memory can be reset on Linux only")
@pytest.mark.parametrize("kind", ["binary", "JSON", "neither"])
def test_huge_value_is_corrupt_and_neither_stalls_nor_fills_memory(server: Server, kind: str) -> None:
    head, body, tail = {
        "binary": (make_header(SCHEMA.fingerprint), b"\0", b""),
        "JSON": (b"[1", b",1", b"]"),
        "neither": (b"", b"x", b""),
    }[kind]

    async def test() -> None:
        store = store_on(server.url, timeout_s=10.0)
        with server.client(timeout_s=60.0) as admin:  # it has 50 MB synced to disk
            admin.set("product:huge", head + body * (HUGE // len(body)) + tail)
            before = _reset_peak()
            worst = [0.0]
            watch = asyncio.create_task(_longest_stall(worst))
            features = await store.fetch(UserId("u"), [*PRODUCTS, ProductId("huge")])
            await asyncio.sleep(0.01)  # for the watch to see the last turn of the loop
            watch.cancel()
            assert features.products.statuses.tolist() == [RowStatus.FOUND] * 50 + [RowStatus.CORRUPT]
            assert np.array_equal(features.products.values[:50, 0], PRICES)
            assert worst[0] < 1.0
            assert _peak() - before < 4 * HUGE  # what hiredis gathers, in steps that double, and what it hands over
            admin.delete("product:huge")
        await store.close()

    run(test, 100)


def _reset_peak() -> int:
    """Have the peak of this process' memory begin anew; return it, in bytes."""
    CLEAR_REFS.write_text("5")
    return _peak()


def _peak() -> int:
    (line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) << 10


async def _longest_stall(worst: list[float]) -> None:
    last = time.monotonic()
    while True:
        await asyncio.sleep(0)
        now = time.monotonic()
        worst[0] = max(worst[0], now - last)
        last = now


def test_key_of_another_type_counts_as_missing(server: Server) -> None:
    async def test() -> None:
        store = store_on(server.url)
        with server.client() as admin:
            admin.hset("product:hash", "f", "v")
            admin.lpush("product:list", "v")
            features = await store.fetch(UserId("u"), [ProductId("hash"), ProductId("1"), ProductId("list")])
            assert features.products.statuses.tolist() == [1, 0, 1]
            admin.delete("product:hash", "product:list")
        await store.close()

    run(test)


def test_hashes_are_refused_and_found_again_like_strings(server: Server) -> None:
    schema = FeatureSchema.from_mapping(
        {
            "user": {"features": ["age"]},
            "product": {"features": ["price", "stock"], "key": "hash:{id}", "format": "hash"},
        }
    )

    async def test() -> None:
        with server.client() as admin:
            admin.hset("hash:a", mapping={"price": "1", "stock": "2"})
            admin.set("hash:b", "no hash")
            admin.hset("hash:c", mapping={"price": "3", "stock": "4"})
        async with FaultProxy(server.socket) as proxy:
            connections = RedisConnections(proxy.url, size=2, timeout_s=TIMEOUT_S)
            store = UncachedStore(RedisStore(connections, schema), schema)

            async def fetch() -> list[int]:
                features = await store.fetch(UserId("none"), [ProductId(i) for i in "abc"])
                assert features.products.values[[0, 2]].tolist() == [[1, 2], [3, 4]]
                return features.products.statuses.tolist()

            right = [RowStatus.FOUND, RowStatus.CORRUPT, RowStatus.FOUND]
            assert await fetch() == right
            nothing = b"*1\r\n$-1\r\n"
            for answer, said in (
                (b"+OK\r\n" * 4, "another kind of reply"),
                (nothing * 4, "another kind of reply"),
                (b"-LOADING\r\n" * 4, "LOADING"),
                (nothing + b"-LOADING\r\n" * 3, "LOADING"),
                (nothing * 2 + b"-OOM\r\n" * 2, "OOM"),
                (nothing, "no answer"),
            ):
                proxy.fault = Fault(answer=answer)
                with pytest.raises(StoreUnavailable, match=said):
                    await fetch()
                proxy.fault = HEALTHY
                await eventually(lambda: not connections.breaker.is_open)
                assert await fetch() == right
            await store.close()

    run(test)
