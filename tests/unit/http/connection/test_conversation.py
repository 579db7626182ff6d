"""Conversations on a real socket: whatever follows a request, what was asked is answered, in order and once."""

from __future__ import annotations

import asyncio
import logging
import re
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from ranker.http.connection import conversation
from ranker.http.connection.buffered import MAX_PIPELINED
from ranker.http.connection.holdings import Holdings
from ranker.http.connection.protocol import MAX_HEAD_BYTES, BoundedProtocol
from ranker.process.log_limit import Seldom
from tests.support.sample import eventually, run, without_collector

BODY = b'{"a": 1}'
H2C = (
    b"Connection: Upgrade, HTTP2-Settings",
    b"Upgrade: h2c",
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    said = f"{scope['method']} {scope['path']} ".encode() + body
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]})
    await send({"type": "http.response.body", "body": said})


@asynccontextmanager
async def served(
    app: ASGIApp = echo, holdings: Holdings | None = None, timeout_s: float = 10.0
) -> AsyncIterator[tuple[str, int]]:
    class Protocol(BoundedProtocol):
        pass

    Protocol.timeout_s, Protocol.keep_alive_s = timeout_s, 5.0
    Protocol.holdings = holdings or Holdings(8 << 20, max_connections=100, max_descriptor=10_000)
    config, state = uvicorn.Config(app, log_config=None), ServerState()
    server = await asyncio.get_running_loop().create_server(lambda: Protocol(config, state, {}), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        for known in list(state.connections):
            known.transport.abort()  # type: ignore[union-attr]  # all are of one class
        while state.connections:  # noqa: ASYNC110  # uvicorn sets no event
            await asyncio.sleep(0.01)


async def talk(address: tuple[str, int], *parts: bytes, half_close: bool = False) -> bytes:
    """Send bytes, in so many packets; return all that comes until the server hangs up."""
    reader, writer = await asyncio.open_connection(*address)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(0.05 if len(parts) > 1 else 0)  # or the kernel joins them
    if half_close:
        writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


def request(*headers: bytes, body: bytes = BODY, path: bytes = b"/predict", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"POST " + path + b" HTTP/" + version, b"Host: x", *headers]) + b"\r\n\r\n" + body


LENGTH = b"Content-Length: %d" % len(BODY)
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def answers(received: bytes) -> list[tuple[int, bytes]]:
    """Return status and body of each answer."""
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        size = int(length[1]) if length else 0
        found.append((int(head.split()[1]), received[:size]))
        received = received[size:]
    return found


RANKED = (200, b"POST /predict " + BODY)
CLOSED = (200, b"GET /last ")


@pytest.mark.parametrize("headers", [H2C, (b"Connection: Upgrade", b"Upgrade: websocket"), (b"Upgrade: x",)])
@pytest.mark.parametrize("form", ["one packet", "head and body", "byte by byte", "chunked", "1.0", "pipelined"])
def test_offer_to_upgrade_is_ignored_and_the_body_kept(
    headers: tuple[bytes, ...], form: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with served() as address:
            whole = request(*headers, LENGTH)
            if form == "one packet":
                assert answers(await talk(address, whole + LAST)) == [RANKED, CLOSED]
            elif form == "head and body":
                head, _, body = whole.partition(b"\r\n\r\n")
                parts = (head + b"\r\n\r\n", body, LAST)
                assert answers(await talk(address, *parts)) == [RANKED, CLOSED]
            elif form == "byte by byte":
                parts = (whole[:30], *(whole[i : i + 40] for i in range(30, len(whole), 40)), LAST)
                assert answers(await talk(address, *parts)) == [RANKED, CLOSED]
            elif form == "chunked":
                chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
                chunked = request(*headers, b"Transfer-Encoding: chunked", body=chunks)
                assert answers(await talk(address, chunked + LAST)) == [RANKED, CLOSED]
                assert answers(await talk(address, chunked[:-9], chunked[-9:], LAST)) == [RANKED, CLOSED]
            elif form == "1.0":
                assert answers(await talk(address, request(*headers, LENGTH, version=b"1.0"))) == [RANKED]
            else:
                assert answers(await talk(address, whole * 90 + LAST)) == [*[RANKED] * 90, CLOSED]

    with caplog.at_level(logging.WARNING):
        run(test)
    assert not caplog.records


def test_body_of_an_offer_to_upgrade_is_never_read_as_a_request() -> None:
    async def test() -> None:
        hidden = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
        async with served() as address:
            sent = request(*H2C, b"Content-Length: %d" % len(hidden), body=b"")
            assert answers(await talk(address, sent, hidden, LAST)) == [(200, b"POST /predict " + hidden), CLOSED]

    run(test)


def test_connect_is_refused() -> None:
    async def test() -> None:
        async with served() as address:
            received = answers(await talk(address, b"CONNECT http://x/ HTTP/1.1\r\nHost: x\r\n\r\n" + LAST))
            assert [status for status, _ in received] == [400]

    run(test)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (request(LENGTH), [RANKED]),
        (request(LENGTH, version=b"1.0"), [RANKED]),
        (request(LENGTH) * 20, [RANKED] * 20),
        (request(LENGTH) + b"POST /predict HT", [RANKED]),
        (request(LENGTH) * 2 + request(LENGTH)[:-1], [RANKED] * 2),
        (b"", []),
        (b"POST /predict HT", []),
        (request(LENGTH)[:-1], []),
    ],
    ids=["one", "1.0", "pipelined", "and half a head", "and half a body", "nothing", "half a head", "half a body"],
)
def test_caller_that_half_closes_gets_what_it_asked_for(sent: bytes, expected: list[tuple[int, bytes]]) -> None:
    async def test() -> None:
        async with served() as address:
            assert answers(await talk(address, sent, half_close=True)) == expected

    run(test)


@pytest.mark.parametrize("gone", [True, False])
def test_caller_that_closed_is_told_from_one_that_still_listens(gone: bool) -> None:
    async def test() -> None:
        hung_up = asyncio.Event()
        going_on = asyncio.Event()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            waits = asyncio.ensure_future(going_on.wait())
            await receive()
            ended = asyncio.ensure_future(receive())  # returns when the connection is lost
            await asyncio.wait([waits, ended], return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                hung_up.set()
                return
            ended.cancel()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})

        async with served(slow) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(request(LENGTH))
            if gone:
                writer.close()
                await asyncio.wait_for(hung_up.wait(), 10)
            else:
                writer.write_eof()
                assert await reader.readuntil(b"\r\n\r\n") == conversation.CONTINUE
                going_on.set()
                assert answers(await asyncio.wait_for(reader.read(), 10))[-1] == (200, b"")
                assert not hung_up.is_set()
                writer.close()

    run(test)


@pytest.mark.parametrize(
    ("garbage", "status"),
    [
        (b"\x16\x03\x01\x02\x00garbage\r\n\r\n", 400),
        (request(b"Content-Length: x"), 400),
        (request(b"Transfer-Encoding: chunked", body=b"zz\r\n"), 400),
        (request(b"Transfer-Encoding: gzip, chunked", body=b"1\r\na\r\n0\r\n\r\n"), 501),
        (request(b"X: " + b"y" * 60_000, b"Y: " + b"y" * 8_000, LENGTH), 431),
        (request(*(b"X-%d: y" % i for i in range(200)), LENGTH), 400),
    ],
    ids=["no HTTP", "bad length", "bad chunk", "another coding", "large head", "many headers"],
)
@pytest.mark.parametrize("owed", [0, 1, 3])
def test_answers_that_are_owed_come_before_the_refusal_of_what_follows(garbage: bytes, status: int, owed: int) -> None:
    async def test() -> None:
        async with served() as address:
            received = answers(await talk(address, request(LENGTH) * owed + garbage))
            assert received[:-1] == [RANKED] * owed
            assert received[-1][0] == status
            assert b'"error_type"' in received[-1][1]

    run(test)


@pytest.mark.parametrize("size", [MAX_HEAD_BYTES - 200, MAX_HEAD_BYTES + 1, MAX_HEAD_BYTES + 6000, 4 * MAX_HEAD_BYTES])
def test_head_is_refused_for_its_size_however_it_arrives(size: int) -> None:
    async def test() -> None:
        head = request(b"X: " + b"y" * (size // 2), b"Y: " + b"y" * (size // 2), LENGTH)
        async with served() as address:
            for parts in ((head,), (head[:1000], head[1000:])):
                reader, writer = await asyncio.open_connection(*address)
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0.05)
                status = int((await asyncio.wait_for(reader.readline(), 10)).split()[1])
                assert status == (200 if size < MAX_HEAD_BYTES else 431)
                writer.close()

    run(test)


def test_more_requests_than_may_wait_are_refused_after_the_answers_to_those() -> None:
    async def test() -> None:
        async with served() as address:
            received = answers(await talk(address, request(LENGTH) * (MAX_PIPELINED + 50)))
            assert received[:-1] == [RANKED] * (MAX_PIPELINED + 1)  # the first did not wait
            assert received[-1][0] == 429

    run(test)


def test_requests_that_wait_are_gone_with_their_connection_without_the_collector() -> None:
    states: list[weakref.ref[BoundedProtocol]] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        states.append(weakref.ref(receive.__self__.on_response.__self__))  # type: ignore[attr-defined]  # the protocol
        while (await receive())["type"] != "http.disconnect":
            pass

    async def test() -> None:
        async with served(slow) as address:
            _, writer = await asyncio.open_connection(*address)
            writer.write(request(LENGTH) * 50)
            await eventually(lambda: bool(states))
            writer.transport.abort()
            await eventually(lambda: states[0]() is None)

    with without_collector():
        run(test)


def test_what_is_no_http_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with served() as address:
            for _ in range(5):
                assert answers(await talk(address, b"\x16\x03\x01"))[0][0] == 400

    monkeypatch.setattr(conversation, "_warnings", Seldom(interval_s=60))
    with caplog.at_level(logging.WARNING):
        run(test)
    assert [record.name for record in caplog.records] == ["ranker.conversation"]
