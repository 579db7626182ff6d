"""`GET /metrics`: one rendering for all who wait, as often as leaves the event loop to the rankings.

Owns when the metrics are rendered; what renders them is handed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Protocol

from starlette.types import Receive, Scope, Send

from ranker.http.exchange import Response
from ranker.http.exchange import send as send_response
from ranker.telemetry.metrics.exposition import CONTENT_TYPE

PATH = "/metrics"
SHARE = 0.05
"""The most that renderings take of the event loop's time, however many ask; who comes too early waits for the next."""
HEADER = (b"content-type", CONTENT_TYPE.encode())


class Renderer(Protocol):
    """Renderer of the metrics."""

    def render(self) -> bytes:
        """Return the text."""


class Scrape:
    """An ASGI app that answers with the metrics as they are once it was asked.

    Args:
        renderer: Renders them.
        flush: Has this worker's notes written first.
    """

    def __init__(self, renderer: Renderer, flush: Callable[[], None]) -> None:
        self._renderer = renderer
        self._flush = flush
        self._next: asyncio.Task[bytes] | None = None
        self._due = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a GET; the server leaves the body of a HEAD out."""
        if self._next is None:
            self._next = asyncio.create_task(self._render())
        text = await asyncio.shield(self._next)  # whoever hangs up, others wait for it, too
        await send_response(send, Response(200, text), HEADER)

    async def _render(self) -> bytes:
        await asyncio.sleep(self._due - perf_counter())
        self._next = None  # who asks from now on wants what happens from now on
        began = perf_counter()
        self._flush()
        text = self._renderer.render()
        ended = perf_counter()
        self._due = ended + (ended - began) / SHARE
        return text
