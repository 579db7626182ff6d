"""`GET /play/ids`: a few ids that are stored, for the playground to begin with; looked up at most once a minute.

Owns how often the store is asked. Who looks, and where, is handed in: it blocks, and has a thread of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic

import orjson
from starlette.types import Receive, Scope, Send

from ranker.errors import RankerError
from ranker.http.exchange import Response
from ranker.http.exchange import send as send_response

PATH = "/play/ids"
KEPT_S = 60.0
OFFERED = 50
"""Ids of users, and of products, that the playground offers."""
Find = Callable[[int], tuple[Sequence[str], Sequence[str]]]
"""Returns up to so many ids of users and of products; RankerError where it cannot."""


class ExampleIds:
    """An ASGI app that answers `{"users": […], "products": […], "failure": sentence or null}`; lists may be empty."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._looking = asyncio.Lock()
        self._body = b""
        self._until = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a GET; the server leaves the body of a HEAD out."""
        async with self._looking:
            if monotonic() >= self._until:
                self._body = await asyncio.to_thread(self._look)
                self._until = monotonic() + KEPT_S
        await send_response(send, Response(200, self._body))

    def _look(self) -> bytes:
        users: Sequence[str] = ()
        products: Sequence[str] = ()
        failure = None
        try:
            users, products = self._find(OFFERED)
        except RankerError as err:
            failure = str(err)
        return orjson.dumps({"users": users, "products": products, "failure": failure})
