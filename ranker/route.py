"""`POST /predict` over ASGI: bytes in, bytes out, every error as one JSON object.

Owns reading a body within its limit, and what an answer's headers are. What ranks, and which error has which status, is
handed in. A leaf: only `service.py` uses it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from ranker import api, errors
from ranker.metrics import Recorder
from ranker.pipeline import Answer
from ranker.turns import Turns

logger = logging.getLogger("ranker.route")

INTERNAL = (500, "internal_error")
"""What an error that is not in the table gets."""
RETRY_AFTER_S = 1
REQUESTS_PER_ROUND = 16
"""Requests that begin in one round of the event loop: some 3 ms of work with 100 products each. Fewer make what waits
for Redis quicker and cost throughput; more hold up timers and health checks."""


class Service(Protocol):
    """What ranks."""

    recorder: Recorder

    def rank(self, request: api.PredictRequest) -> Awaitable[Answer]:
        """Answer one checked request."""


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """What the route must know.

    Attributes:
        statuses: Error class → (status, error_type); the classes are leaves.
        model: The model's tag, for the header `X-Ranker-Model`.
        max_products: The most products of one request.
        max_body_bytes: The largest body.
    """

    statuses: Mapping[type[errors.RankerError], tuple[int, str]]
    model: str
    max_products: int
    max_body_bytes: int


class PredictRoute:
    """An ASGI app that answers `POST /predict`, in front of another that answers the rest.

    Args:
        app: What answers everything else.
        service: Returns what ranks; called for each request, for it exists only once the app has started.
        settings: As above.
    """

    def __init__(self, app: ASGIApp, service: Callable[[], Service], settings: RouteSettings) -> None:
        self.app = app
        self._service = service
        self._settings = settings
        self._turns = Turns(REQUESTS_PER_ROUND)
        self._headers = (
            (b"content-type", b"application/json"),
            (b"x-ranker-model", settings.model.encode()),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if scope["path"] == "/predict" and scope["method"] == "POST":
                await self._predict(scope, receive, send)
                return
            if scope["path"] == "/metrics":
                self._service().recorder.flush()
        await self.app(scope, receive, send)

    async def _predict(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*self._headers]
        service = self._service()
        request: api.PredictRequest | None = None
        try:
            body = await _read_body(scope, receive, self._settings.max_body_bytes)
            if body is None:
                return
            await self._turns.take()
            request = api.parse(body, self._settings.max_products)
            answer = await service.rank(request)
            status, body = 200, render(request, answer)
            headers.append((b"server-timing", answer.timings.header().encode()))
        except Exception as err:
            status, error_type, message = self._explain(err)
            service.recorder.error(error_type)
            body = api.render_error(message, error_type, request.requestId if request else _request_id(err))
            if status == 429:
                headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _explain(self, err: Exception) -> tuple[int, str, str]:
        """Return status, error type and sentence; what was not foreseen is logged, and the caller told no details."""
        if isinstance(err, errors.RankerError) and type(err) in self._settings.statuses:
            return (*self._settings.statuses[type(err)], str(err))
        logger.error("A request failed unexpectedly", exc_info=err)
        return (*INTERNAL, "The request failed unexpectedly; the service's log has the details.")


def render(request: api.PredictRequest, answer: Answer) -> bytes:
    """Return the JSON body of an answer."""
    return api.render(request, answer.ranking, answer.scores, answer.missing, answer.degraded_reason)


async def _read_body(scope: Scope, receive: Receive, limit_bytes: int) -> bytes | None:
    """Return the request's body, or None when the caller hung up; refuse a large one before it is read or parsed."""
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > limit_bytes:
            raise errors.BodyTooLarge(limit_bytes)
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        parts.append(part)
        size += len(part)
        if size > limit_bytes:
            raise errors.BodyTooLarge(limit_bytes)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _request_id(err: Exception) -> str | None:
    return err.request_id if isinstance(err, errors.RequestError) else None
