"""What all connections hold together is bounded, counted, and let go of: the oldest first."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress

import pytest
from starlette.types import Receive, Scope, Send

from ranker.http.connection.buffered import SMALL_BYTES
from ranker.http.connection.holdings import Holdings
from tests.support.sample import eventually, run
from tests.unit.http.connection.test_conversation import BODY, LAST, answers, echo, request, served, talk

PART = b"x" * 40_000
BEGUN = request(b"Content-Length: 50000", body=PART)
MAX_BYTES = 10 * len(BEGUN)


def holdings(max_connections: int = 1000, max_descriptor: int = 100_000) -> Holdings:
    return Holdings(MAX_BYTES, max_connections, max_descriptor)


async def is_empty(held: Holdings) -> None:
    """Wait until nothing is counted."""
    await eventually(lambda: not held.bytes, 10)


def test_of_bodies_that_do_not_end_the_oldest_are_refused_and_others_answered() -> None:
    async def test() -> None:
        held = holdings()
        async with served(holdings=held) as address:
            begun = []
            for _ in range(15):
                begun.append(await asyncio.open_connection(*address))
                begun[-1][1].write(BEGUN)
                await begun[-1][1].drain()
                assert answers(await talk(address, LAST)) == [(200, b"GET /last ")]
            assert 0 < held.bytes <= MAX_BYTES
            assert (held.connections, held.dropped) == (15, {"bytes": 5, "connections": 0})
            for reader, _ in begun[:5]:
                status, body = answers(await asyncio.wait_for(reader.read(), 10))[0]
                assert (status, b'"overloaded"' in body) == (429, True)
            for reader, writer in begun[-5:]:  # these had room, and end well
                writer.write(b"y" * 10_000)
                assert b"200 OK" in await asyncio.wait_for(reader.readline(), 10)
            for _, writer in begun:
                writer.close()
            await is_empty(held)

    run(test)


def test_refused_body_is_freed_though_its_caller_stays() -> None:
    async def test() -> None:
        told = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            told.set()

        held = Holdings(len(PART), 10, 100_000)
        async with served(app, held) as address:
            _, writer = await asyncio.open_connection(*address)
            writer.write(BEGUN)
            await asyncio.wait_for(told.wait(), 10)
            await is_empty(held)
            writer.close()

    run(test)


def test_of_answers_that_nobody_reads_the_oldest_are_dropped() -> None:
    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/last":
            await echo(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4000000")]})
        await send({"type": "http.response.body", "body": bytes(4_000_000)})

    async def test() -> None:
        held = Holdings(8 << 20, 1000, 100_000)
        async with served(large, held) as address:
            callers = []
            for _ in range(8):
                caller = socket.socket()
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                caller.setblocking(False)
                await asyncio.get_running_loop().sock_connect(caller, address)
                await asyncio.get_running_loop().sock_sendall(caller, request(b"Content-Length: 8"))
                callers.append(caller)
                assert answers(await talk(address, LAST)) == [(200, b"GET /last ")]
            assert 0 < held.bytes <= 8 << 20
            received = 0
            with suppress(ConnectionError):
                while part := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(callers[0], 1 << 16), 10):
                    received += len(part)
            assert received < 4_000_000
            for caller in callers:
                caller.close()
            await is_empty(held)

    run(test)


def test_caller_that_reads_nothing_is_hung_up_on_and_a_slow_one_is_not() -> None:
    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6000000")]})
        await send({"type": "http.response.body", "body": bytes(6_000_000)})

    async def test() -> None:
        held = Holdings(8 << 20, 1000, 100_000)
        loop = asyncio.get_running_loop()
        async with served(large, held, timeout_s=1.0) as address:
            silent, slow = socket.socket(), socket.socket()
            for caller in (silent, slow):
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
                caller.setblocking(False)
                await loop.sock_connect(caller, address)
                await loop.sock_sendall(caller, request(b"Content-Length: 8"))
                if caller is silent:
                    await eventually(lambda: held.bytes > 0)
                    await is_empty(held)
            received, began = 0, loop.time()
            while received < 6_000_000:
                part = await asyncio.wait_for(loop.sock_recv(slow, 1 << 18), 10)
                assert part
                received += len(part)
                await asyncio.sleep(0.2 if loop.time() - began < 3 else 0)
            for caller in (slow, silent):
                caller.close()

    run(test)


@pytest.mark.parametrize("bound", [{"max_connections": 20}, {"max_descriptor": -1}], ids=["number", "open files"])
def test_of_connections_that_ask_nothing_the_oldest_are_closed(
    bound: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        if "max_descriptor" in bound:
            with socket.socket() as next_one:
                bound["max_descriptor"] = next_one.fileno() + 40  # both ends are of this process
        async with served(holdings=holdings(**bound)) as address:
            used, writer = await asyncio.open_connection(*address)
            writer.write(request(b"Content-Length: 8"))
            assert b"200 OK" in await used.readline()
            idle = [await asyncio.open_connection(*address) for _ in range(40)]
            assert await asyncio.wait_for(idle[0][0].read(), 10) == b""
            writer.write(LAST)
            assert b"GET /last" in await asyncio.wait_for(used.read(), 10)
            idle[-1][1].write(LAST)
            assert answers(await asyncio.wait_for(idle[-1][0].read(), 10)) == [(200, b"GET /last ")]
            for _, other in [*idle, (used, writer)]:
                other.close()

    with caplog.at_level(logging.WARNING):
        run(test)
    assert len(caplog.records) == 1


def test_where_all_connections_have_asked_those_that_idle_for_longest_are_closed() -> None:
    answer_slow = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            await answer_slow.wait()
        await echo(scope, receive, send)

    async def test() -> None:
        held = holdings(max_connections=8)
        async with served(app, held) as address:
            connections = []
            for i in range(8):
                reader, writer = await asyncio.open_connection(*address)
                connections.append((reader, writer))
                writer.write(request(b"Content-Length: 8", path=b"/slow" if i == 0 else b"/"))
                if i:
                    assert b"200 OK" in await reader.readuntil(BODY)
            connections[1][1].write(request(b"Content-Length: 8"))  # was the first to idle, and is the last now
            assert b"200 OK" in await connections[1][0].readuntil(BODY)
            assert answers(await talk(address, LAST)) == [(200, b"GET /last ")]
            assert await asyncio.wait_for(connections[2][0].read(), 10) == b""
            assert held.dropped == {"bytes": 0, "connections": 1}
            answer_slow.set()
            assert b"200 OK" in await connections[0][0].readuntil(BODY)
            for _, writer in connections:
                writer.close()

    run(test)


def test_newcomers_are_refused_where_every_connection_is_being_answered() -> None:
    asked: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        while (await receive())["type"] != "http.disconnect":
            pass

    async def test() -> None:
        held = holdings(max_connections=4)
        async with served(app, held) as address:
            writers = []
            for _ in range(4):
                _, writer = await asyncio.open_connection(*address)
                writer.write(request(b"Content-Length: 8"))
                writers.append(writer)
            await eventually(lambda: len(asked) == 4)
            for _ in range(2):
                assert await talk(address, LAST) == b""
            assert held.connections == 4
            for writer in writers:
                writer.close()

    run(test)


def test_who_gives_memory_back_is_told_once_after_a_peak() -> None:
    class Connection:
        idle_since = None

        def let_go(self) -> None:
            pass

    told: list[int] = []
    held = Holdings(1000, 10, 10, lambda: told.append(held.bytes))
    small, large = Connection(), Connection()
    held.hold(small, 400)
    held.release(small)
    assert told == []
    held.hold(small, 20)
    held.hold(large, 600)
    held.release(large)
    held.release(small)
    assert told == [20]


@pytest.mark.parametrize("size", [10, SMALL_BYTES, 10 * SMALL_BYTES])
def test_nothing_is_counted_once_requests_are_answered(size: int) -> None:
    async def test() -> None:
        held = Holdings(8 << 20, 10, 100_000)
        async with served(holdings=held) as address:
            reader, writer = await asyncio.open_connection(*address)
            whole = request(b"Content-Length: %d" % size, body=b"z" * size)
            for parts in ((whole,), (whole[:60], whole[60:]), (whole[:-1], whole[-1:]), (whole * 3,)):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0.02)
                for _ in range(3 if parts[0] == whole * 3 else 1):
                    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
                    await asyncio.wait_for(reader.readexactly(len(b"POST /predict ") + size), 10)
                await is_empty(held)
            writer.close()

    run(test)
