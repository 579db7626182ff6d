"""The protocol on a real socket, with an app that says what reached it."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from ranker.http.connection.heads import Head, Heads
from ranker.http.connection.holdings import Holdings
from ranker.http.connection.protocol import BoundedProtocol
from tests.support.sample import run, without_collector

REFUSAL = b"HTTP/1.1 429 \r\ncontent-length: 0\r\n\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class Echo:
    """A request on the lane, in the shape of uvicorn's cycle."""

    response_started = response_complete = disconnected = False
    keep_alive = True
    scope = {"http_version": "1.1"}  # noqa: RUF012 - as uvicorn's has it
    message_event = asyncio.Event()


class EchoLane:
    """Refuses as it is told, and gives back what it takes, in a later turn of the loop; a body of "1" after a while."""

    is_open = True

    def __init__(self, admits: Callable[[int], bool]) -> None:
        self.heads = Heads(lambda headers, body_bytes: Head(headers, body_bytes, None))
        self.has_room = admits

    def refuse(self) -> bytes:
        return REFUSAL

    def take(self, connection: BoundedProtocol, head: Head, body: bytes) -> Echo:
        answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        asyncio.get_running_loop().call_later(0.05 if body == b"1" else 0.001, connection.respond, answer)
        return Echo()


@asynccontextmanager
async def connected(
    admits: Callable[[int], bool] | None, timeout_s: float = 10.0, app: ASGIApp = app, keep_alive_s: float = 1.0
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    class Protocol(BoundedProtocol):
        pass

    Protocol.timeout_s, Protocol.keep_alive_s = timeout_s, keep_alive_s
    Protocol.lane = EchoLane(admits) if admits else None
    Protocol.holdings = Holdings(max_bytes=1 << 20, max_connections=100, max_descriptor=1000)
    config, state = uvicorn.Config(app, log_config=None), ServerState()
    server = await asyncio.get_running_loop().create_server(lambda: Protocol(config, state, {}), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()
        server.close()
        while state.connections:  # noqa: ASYNC110  # uvicorn sets no event
            await asyncio.sleep(0.01)


def request(*headers: bytes, body: bytes = b"12345", path: bytes = b"/predict") -> bytes:
    return b"\r\n".join([b"POST " + path + b" HTTP/1.1", b"Host: x", *headers]) + b"\r\n\r\n" + body


def test_whole_ranking_requests_are_refused_by_their_length_and_the_connection_lives_on() -> None:
    async def test() -> None:
        lengths: list[int] = []

        def admits(length: int) -> bool:
            lengths.append(length)
            return len(lengths) > 3

        refused = [
            request(b"Content-Length: 5"),
            request(b"content-length:5", b"Connection: keep-alive"),
            request(b"X: y", b"CONTENT-LENGTH:  5 "),
        ]
        async with connected(admits) as (reader, writer):
            for whole in refused:
                writer.write(whole)
                assert await reader.readuntil(b"\r\n\r\n") == REFUSAL
            writer.write(refused[0])
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(5) == b"12345"
            assert lengths == [5, 5, 5, 5]
            assert await reader.read() == b""  # idle for a second, so hung up on

    run(test)


@pytest.mark.parametrize(
    "parts",
    [
        [request(b"Content-Length: 5", path=b"/other")],
        [request(b"Transfer-Encoding: chunked", body=b"5\r\n12345\r\n0\r\n\r\n")],
        [request(b"Content-Length: 5", b"Connection: close")],
        [b"GET" + request(b"Content-Length: 5")[4:]],
        [request(b"Content-Length: 5")[:-1], b"5"],
        [request(b"Content-Length: 5")[:20], request(b"Content-Length: 5")[20:]],
    ],
    ids=["another path", "chunked", "close", "another method", "body in parts", "head in parts"],
)
def test_everything_else_takes_the_long_way(parts: list[bytes]) -> None:
    async def test() -> None:
        async with connected(lambda _: False) as (reader, writer):
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0.05)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(5) == b"12345"

    run(test)


def test_connection_that_was_only_ever_refused_is_closed_when_idle() -> None:
    async def test() -> None:
        async with connected(lambda _: False) as (reader, writer):
            for _ in range(3):
                writer.write(request(b"Content-Length: 5"))
                assert await reader.readuntil(b"\r\n\r\n") == REFUSAL
                await asyncio.sleep(0.4)
            began = asyncio.get_running_loop().time()
            assert await reader.read() == b""
            assert asyncio.get_running_loop().time() - began < 5

    run(test)


def test_connection_in_use_is_not_idle_though_no_timer_is_armed_for_each_answer() -> None:
    async def test() -> None:
        async with connected(lambda _: True, keep_alive_s=0.5) as (reader, writer):
            for _ in range(8):
                writer.write(request(b"Content-Length: 5"))
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
                assert await reader.readexactly(5) == b"12345"
                await asyncio.sleep(0.15)
            began = asyncio.get_running_loop().time()
            assert await reader.read() == b""
            assert 0.2 < asyncio.get_running_loop().time() - began < 5

    run(test)


def test_what_follows_a_request_on_the_lane_is_answered_after_it() -> None:
    async def test() -> None:
        async with connected(lambda _: True) as (reader, writer):
            for pause_s in (0.0, 0.002):
                for number in (b"1", b"2", b"3"):
                    writer.write(request(b"Content-Length: 1", body=number))
                    await asyncio.sleep(pause_s)
                for number in (b"1", b"2", b"3"):
                    await reader.readuntil(b"\r\n\r\n")
                    assert await reader.readexactly(1) == number

    run(test)


def test_caller_who_sends_no_more_is_answered_on_the_lane() -> None:
    async def test() -> None:
        async with connected(lambda _: True) as (reader, writer):
            writer.write(request(b"Content-Length: 5"))
            writer.write_eof()
            assert (await reader.read()).endswith(b"\r\n\r\n12345")

    run(test)


def test_body_that_never_ends_is_cut_off_though_its_request_was_answered() -> None:
    async def test() -> None:
        async with connected(None, timeout_s=0.2) as (reader, writer):
            writer.write(request(b"Content-Length: 1000"))
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)

    run(test)


def test_head_and_body_leave_together() -> None:
    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await asyncio.sleep(0.01)  # what has left by now is read alone
        await send({"type": "http.response.body", "body": b"hello"})

    async def check() -> None:
        async with connected(None, app=answering) as (reader, writer):
            for _ in range(5):
                writer.write(b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
                assert (await reader.read(1000)).endswith(b"\r\n\r\nhello")

    run(check)


def test_caller_who_asks_first_is_told_to_go_on_before_it_sends_the_body() -> None:
    async def check() -> None:
        async with connected(None) as (reader, writer):
            writer.write(b"POST /predict HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"hello")
            assert (await reader.read(1000)).endswith(b"\r\n\r\nhello")

    run(check)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_answers_to_other_methods_leave_without_a_body_too(method: str) -> None:
    async def check() -> None:
        async with connected(None) as (reader, writer):
            for _ in range(2):
                writer.write(f"{method} / HTTP/1.1\r\nhost: a\r\n\r\n".encode())
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")

    run(check)


def test_app_that_fails_between_head_and_body_has_sent_its_head() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        raise RuntimeError("no body")

    async def check() -> None:
        async with connected(None, app=failing) as (reader, writer):
            writer.write(b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
            assert (await reader.read()).endswith(b"\r\ncontent-length: 5\r\n\r\n")

    run(check)


def test_a_streamed_body_is_sent_as_it_comes() -> None:
    going_on = asyncio.Event()

    async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await going_on.wait()
        await send({"type": "http.response.body", "body": b"two"})

    async def check() -> None:
        async with connected(None, app=streaming) as (reader, writer):
            writer.write(b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
            assert (await reader.read(1000)).endswith(b"\r\n\r\none")
            going_on.set()
            assert await reader.readexactly(3) == b"two"

    run(check)


def test_answered_request_is_gone_without_the_collector() -> None:
    asked: list[weakref.ref[object]] = []

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(weakref.ref(receive.__self__))  # type: ignore[attr-defined]  # uvicorn's is a method of the request
        await app(scope, receive, send)

    async def check() -> None:
        async with connected(None, app=watched) as (reader, writer):
            for _ in range(3):
                writer.write(request(b"Content-Length: 5"))
                assert (await reader.read(1000)).endswith(b"\r\n\r\n12345")

    with without_collector():
        run(check)
        assert [known() for known in asked] == [None] * 3


@pytest.mark.parametrize("level", [logging.WARNING, logging.INFO])
def test_a_line_of_the_access_log_is_made_where_somebody_wants_it(
    level: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    module = "uvicorn.protocols.http.httptools_impl"
    monkeypatch.setattr(f"{module}.get_path_with_query_string", lambda scope: made.append(scope) or scope["path"])

    async def test() -> None:
        async with connected(None) as (reader, writer):
            writer.write(request(b"Content-Length: 5"))
            await reader.readuntil(b"\r\n\r\n")

    with caplog.at_level(level, "uvicorn.access"):
        run(test)
    assert len(made) == len(caplog.records) == (level == logging.INFO)
