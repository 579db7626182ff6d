"""Composed services: requests of another BentoML service in this deployment, pickled, over this one's private socket.

`bentoml.depends(Ranker)` sends what a pickle of plain values says; it is the endpoint's JSON, there and back. Nothing
but plain values is unpickled, whoever sends it, and nothing at all from a network. Owns that translation; what is asked
and answered is the endpoint's.
"""

from __future__ import annotations

import io
import pickle  # nosec B403  # what is read names no class, see `_Plain`
from collections.abc import MutableMapping
from typing import Any, NoReturn

import orjson
from pydantic_core import PydanticSerializationError, to_json
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ranker.api.headers import JSON
from ranker.errors import BodyTooLarge, CallerGone, InvalidRequest

PICKLE = (b"content-type", b"application/vnd.bentoml+pickle")


class Composed:
    """An ASGI app that answers pickled requests as another answers JSON, and lets it answer all others.

    Args:
        endpoint: The other.
        max_body_bytes: The most bytes of a body.
        token: One that the endpoint takes, where it wants any; whoever reaches the socket may do more than ask.
    """

    def __init__(self, endpoint: ASGIApp, max_body_bytes: int, token: str | None) -> None:
        self._endpoint = endpoint
        self._max_body_bytes = max_body_bytes
        self._added_headers = [JSON] if token is None else [JSON, (b"authorization", b"Bearer " + token.encode())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if PICKLE in scope["headers"] and _is_private(scope):
            kept = [header for header in scope["headers"] if header[0] not in (b"content-type", b"content-length")]
            scope = {**scope, "headers": [*kept, *self._added_headers]}
            receive, send = _Asked(receive, self._max_body_bytes), _Answered(send)
        await self._endpoint(scope, receive, send)


class _Asked:
    """`receive` of a request, whose body is JSON text."""

    def __init__(self, receive: Receive, max_body_bytes: int) -> None:
        self.__self__ = getattr(receive, "__self__", receive)  # by which `Callers` knows the request
        self._receive = receive
        self._max_body_bytes = max_body_bytes

    async def __call__(self) -> Message:
        message = await self._receive()
        body = bytearray()
        while message["type"] == "http.request":
            body += message.get("body", b"")
            if len(body) > self._max_body_bytes:
                raise BodyTooLarge(self._max_body_bytes)
            if not message.get("more_body", False):
                return {"type": "http.request", "body": _to_json(bytes(body))}
            message = await self._receive()
        raise CallerGone


class _Answered:
    """`send` of an answer; a ranking or an explanation is pickled, an error is not."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: MutableMapping[str, Any] = {}

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        start, body = self._start, message["body"]
        if start["status"] == 200:
            body = pickle.dumps(orjson.loads(body), protocol=5)
            kept = [header for header in start["headers"] if header[0] not in (b"content-type", b"content-length")]
            start = {**start, "headers": [*kept, PICKLE, (b"content-length", str(len(body)).encode())]}
        await self._send(start)
        await self._send({**message, "body": body})


class _Plain(pickle.Unpickler):
    """Unpickler of numbers, texts, lists and dicts; what else there is has a class."""

    def find_class(self, module_name: str, global_name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is no plain value")


def _to_json(body: bytes) -> bytes:
    """Return the JSON text of a pickled body.

    Raises:
        InvalidRequest: it has what JSON has not.
    """
    try:
        return to_json(_Plain(io.BytesIO(body)).load())
    except (pickle.UnpicklingError, PydanticSerializationError, EOFError, ValueError, LookupError, TypeError) as err:
        raise InvalidRequest([f"body: {err}"]) from None


def _is_private(scope: Scope) -> bool:
    """Say whether a request came over a unix socket; BentoML's are in a folder that this user alone can enter."""
    server = scope.get("server")
    return server is None or server[1] is None
