"""The proxy between Ranker and Redis: what it does to one kind of connection it does not do to the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.chaos.pair import Pair
from tests.support.proxy import HEALTHY, Fault, FaultProxy
from tests.support.sample import run

PONG = b"+PONG\r\n"
PUSH = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\n%s\r\n"


@pytest.fixture
def pair(short_path: Path) -> Iterator[Pair]:
    made = Pair(short_path)
    made.start()
    yield made
    made.kill()


class Caller(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def hears(self, expected: bytes, within_s: float = 10.0) -> None:
        """Read as many bytes as that, and see that they are that."""
        async with asyncio.timeout(within_s):
            assert await self.reader.readexactly(len(expected)) == expected

    async def hears_nothing(self, for_s: float = 0.3) -> None:
        with pytest.raises(TimeoutError):
            await self.hears(b"x", for_s)

    async def ping(self) -> None:
        self.writer.write(b"PING\r\n")
        await self.hears(PONG)


@asynccontextmanager
async def callers(pair: Pair) -> AsyncIterator[tuple[FaultProxy, Caller, Caller]]:
    """Yield a proxy with a connection that reads and one that tracks."""
    async with FaultProxy(pair.serving.socket) as proxy:
        reading, tracking = [Caller(*await asyncio.open_connection("127.0.0.1", proxy.port)) for _ in range(2)]
        await reading.ping()
        tracking.writer.write(b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\nCLIENT TRACKING ON BCAST\r\n")
        async with asyncio.timeout(10):
            await tracking.reader.readuntil(b"+OK\r\n")
        yield proxy, reading, tracking
        for caller in (reading, tracking):
            caller.writer.close()


def test_faults_of_the_tracking_connection_leave_readers_alone(pair: Pair) -> None:
    async def test() -> None:
        async with callers(pair) as (proxy, reading, tracking):
            for fault in (
                Fault(on="listening", hang=True),
                Fault(on="listening", delay_s=1.0),
                Fault(on="listening", bytes_per_s=1.0),
            ):
                proxy.fault = fault
                pair.store("k", b"v")
                await reading.ping()
                if fault.bytes_per_s is None:
                    await tracking.hears_nothing()
                proxy.fault = HEALTHY
                await tracking.hears(PUSH % b"k")
            proxy.fault = Fault(on="listening", answer=b"-MOVED\r\n")
            await reading.ping()
            tracking.writer.write(b"PING\r\n")
            await tracking.hears(b"-MOVED\r\n")

    run(test)


def test_faults_of_readers_leave_the_tracking_connection_alone(pair: Pair) -> None:
    async def test() -> None:
        async with callers(pair) as (proxy, reading, tracking):
            proxy.fault = Fault(on="reading", answer=b"-MOVED\r\n")
            reading.writer.write(b"PING\r\n")
            await reading.hears(b"-MOVED\r\n")
            pair.store("k", b"v")
            await tracking.hears(PUSH % b"k")
            proxy.inject(b">0\r\n", "listening")
            await tracking.hears(b">0\r\n")
            await reading.hears_nothing()
            proxy.cut("reading")
            assert await reading.reader.read() == b""
            await tracking.ping()

    run(test)


def test_slow_link_takes_its_time_and_is_quick_again_when_the_fault_is_over(pair: Pair) -> None:
    async def test() -> None:
        async with callers(pair) as (proxy, _, tracking):
            proxy.fault = Fault(on="listening", bytes_per_s=1000.0)
            began = time.monotonic()
            for _ in range(10):
                pair.store("k", b"v")
            await tracking.hears((PUSH % b"k") * 10)
            assert time.monotonic() - began > 0.3
            proxy.fault = Fault(on="listening", bytes_per_s=1.0)
            pair.store("k", b"v")
            await tracking.hears((PUSH % b"k")[:1])
            proxy.fault = HEALTHY
            await tracking.hears((PUSH % b"k")[1:], 5.0)

    run(test)


def test_handover_moves_what_was_written_and_no_connection(pair: Pair) -> None:
    async def test() -> None:
        async with callers(pair) as (_, _, tracking):
            pair.store("k", b"1")
            await tracking.hears(PUSH % b"k")
            assert pair.tracking() == (1, 0)
            pair.hand_over()
            assert pair.tracking() == (0, 1)
            with pair.serving.client() as client:
                assert client.get("k") == b"1"
            pair.store("k", b"2")
            await tracking.hears_nothing()
            pair.hand_over()
            await tracking.hears(PUSH % b"k")
            with pair.serving.client() as client:
                assert client.get("k") == b"2"

    run(test)
