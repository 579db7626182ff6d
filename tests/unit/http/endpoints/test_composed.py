"""Pickled requests of services in one deployment: what is taken, from where, and what is never unpickled."""

from __future__ import annotations

import asyncio
import os
import pickle
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.types import Message, Receive, Scope, Send

from ranker.errors import BodyTooLarge, CallerGone, InvalidRequest
from ranker.http.endpoints.composed import PICKLE, Composed

PRIVATE, NETWORK = None, ("127.0.0.1", 3000)
JSON = (b"content-type", b"application/json")


class Endpoint:
    """Keeps what it was asked, and answers with a status."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers = scope["headers"]
        self.body = (await receive())["body"]
        told = [JSON, (b"content-length", b"12")]
        await send({"type": "http.response.start", "status": self.status, "headers": told})
        await send({"type": "http.response.body", "body": b'{"told":[1]}'})


class Connection:
    def __init__(self, *parts: bytes, lost: bool = False) -> None:
        last = len(parts) - 1
        self.arriving: list[Message] = [
            {"type": "http.request", "body": part, "more_body": lost or i < last} for i, part in enumerate(parts)
        ]
        self.sent: list[Any] = []

    async def receive(self) -> Message:
        return self.arriving.pop(0) if self.arriving else {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)


def ask(
    endpoint: Endpoint, connection: Connection, server: object = PRIVATE, token: str | None = None, limit: int = 1000
) -> None:
    scope = {"type": "http", "server": server, "headers": [PICKLE, (b"content-length", b"99"), (b"a", b"b")]}
    asyncio.run(Composed(endpoint, limit, token)(scope, connection.receive, connection.send))


def test_request_is_json_for_the_endpoint_and_the_answer_a_pickle() -> None:
    endpoint, request = Endpoint(), pickle.dumps({"userId": "u", "context": {"hour": 1.5, "new": None}}, protocol=5)
    connection = Connection(request[:10], request[10:])
    ask(endpoint, connection, token="secret")
    assert orjson.loads(endpoint.body) == {"userId": "u", "context": {"hour": 1.5, "new": None}}
    assert endpoint.headers == [(b"a", b"b"), JSON, (b"authorization", b"Bearer secret")]
    start, body = connection.sent
    assert pickle.loads(body["body"]) == {"told": [1]}
    assert start["headers"] == [PICKLE, (b"content-length", str(len(body["body"])).encode())]


def test_error_stays_json() -> None:
    connection = Connection(pickle.dumps({}))
    ask(Endpoint(status=429), connection)
    start, body = connection.sent
    assert (start["status"], start["headers"][0], body["body"]) == (429, JSON, b'{"told":[1]}')


def test_request_from_a_network_is_left_as_it_is() -> None:
    endpoint, request = Endpoint(), pickle.dumps({"userId": "u"})
    connection = Connection(request)
    ask(endpoint, connection, server=NETWORK, token="secret")
    assert endpoint.body == request
    assert endpoint.headers[0] == PICKLE
    assert connection.sent[0]["headers"][0] == JSON


def test_nothing_with_a_class_is_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    class Exploit:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(marker),)

    for body in (
        pickle.dumps({"userId": Exploit()}),
        pickle.dumps(Path("x")),
        b"",
        b"\x80",
        b"no pickle",
        b"cos\nsystem\n.",
    ):
        with pytest.raises(InvalidRequest):
            ask(Endpoint(), Connection(body))
    assert not marker.exists()


def test_body_is_bounded_and_may_be_cut_off() -> None:
    with pytest.raises(BodyTooLarge):
        ask(Endpoint(), Connection(b"x" * 60, b"x" * 60), limit=100)
    with pytest.raises(CallerGone):
        ask(Endpoint(), Connection(b"x", lost=True))
