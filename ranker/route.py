"""`POST /predict` over ASGI: bytes in, bytes out, every error as one JSON object.

Owns reading a body within its limits, and what an answer's headers are. What ranks, and which error has which status,
is handed in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from ranker import api, errors
from ranker.admission import Admission
from ranker.callers import Callers
from ranker.gate import Gate
from ranker.logs import fields
from ranker.metrics import Recorder
from ranker.observer import Observer
from ranker.pipeline import Answer
from ranker.refusals import RETRY_AFTER_S
from ranker.settings import Settings
from ranker.tracing import Headers, trace_id
from ranker.turns import Turns

logger = logging.getLogger("ranker.route")

INTERNAL = (500, "internal_error")
"""What an error that is not in the table gets."""
LONG_COMMAS = 256
"""A body with more commas, that is, with about as many products, is long: its steps hold the loop for milliseconds."""
TIMEOUT_HEADER = "X-Request-Timeout-Ms"
_TIMEOUT = TIMEOUT_HEADER.lower().encode()
_JSON = (b"content-type", b"application/json")
_CLOSE = (b"connection", b"close")


class Worker(Protocol):
    """What ranks."""

    admission: Admission
    callers: Callers
    observer: Observer
    recorder: Recorder
    turns: Turns
    draining: bool

    def allowed_s(self, deadline_s: float | None) -> float:
        """Return the seconds that a request may take whose caller waits for `deadline_s`."""

    def rank(
        self, request: api.PredictRequest, body_bytes: int, arrived: float, deadline_s: float | None
    ) -> Awaitable[Answer]:
        """Answer one checked request that arrived at a time of `time.monotonic`."""


class PredictRoute:
    """An ASGI app that answers `POST /predict`, in front of another that answers the rest.

    Args:
        app: What answers everything else.
        gate: What lets requests through.
        worker: Returns what ranks; called for each request, for it exists only once the app has started.
        settings: The limits of a request.
        statuses: Error class → (status, error_type); the classes are leaves.
        model: The model's tag, for the header `X-Ranker-Model`.
    """

    def __init__(
        self,
        app: ASGIApp,
        gate: Gate,
        worker: Callable[[], Worker],
        settings: Settings,
        statuses: Mapping[type[errors.RankerError], tuple[int, str]],
        model: str,
    ) -> None:
        self.app = app
        self._gate = gate
        self._worker = worker
        self._settings = settings
        self._statuses = statuses
        self._headers = (_JSON, (b"x-ranker-model", model.encode()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path, method = scope["path"], scope["method"]
            if path == "/predict" and method == "POST":
                await self._predict(scope, receive, send)
                return
            try:
                self._gate.check_caller(path, dict(scope["headers"]))
                self._gate.check_path(method, path)
            except errors.RequestError as err:
                await self._send_error(send, err, None, [_JSON], {})
                return
            if path == "/metrics":
                self._worker().recorder.flush()
        await self.app(scope, receive, send)

    async def _predict(self, scope: Scope, receive: Receive, send: Send) -> None:
        worker = self._worker()
        headers = [*self._headers]
        if worker.draining:
            headers.append(_CLOSE)
        request: api.PredictRequest | None = None
        said: Headers = dict(scope["headers"])
        arrived = monotonic()
        try:
            self._gate.check_caller("/predict", said)
            deadline_s = _deadline_s(said)
            body = await self._read_body(said, receive)
            arrived = monotonic()
            with worker.callers.listening(receive):
                long = await self._turn(worker, body, deadline_s)
                try:
                    request = api.parse(body, self._settings.max_products)
                    answer = await worker.rank(request, len(body), arrived, deadline_s)
                    body = render(request, answer)
                finally:
                    if long:
                        worker.turns.end_long()
        except Exception as err:
            request_id = request.requestId if request else getattr(err, "request_id", None)
            status, error_type = await self._send_error(send, err, request_id, headers, said)
            worker.observer.failed(said, request_id, arrived, status, error_type)
            return
        server_timing = worker.observer.answered(said, request.requestId, answer, monotonic())
        headers.append((b"server-timing", server_timing.encode()))
        await _send(send, 200, headers, body)

    async def _turn(self, worker: Worker, body: bytes, deadline_s: float | None) -> bool:
        """Wait for the request's turn; return whether it is one of a long request, which must be ended."""
        worker.admission.queue(len(body))
        try:
            if body.count(b",") <= LONG_COMMAS:
                await worker.turns.take()
                return False
            return await worker.turns.take_long(worker.allowed_s(deadline_s))
        finally:
            worker.admission.unqueue(len(body))

    async def _send_error(
        self,
        send: Send,
        err: Exception,
        request_id: str | None,
        headers: list[tuple[bytes, bytes]],
        said: Headers,
    ) -> tuple[int, str]:
        """Answer with an error, whose status and type are returned.

        What was not foreseen is logged, and the caller told no details.
        """
        if isinstance(err, errors.RankerError) and type(err) in self._statuses:
            (status, error_type), message = self._statuses[type(err)], str(err)
        else:
            logger.error("A request failed unexpectedly", exc_info=err, extra=fields(request_id, trace_id(said)))
            (status, error_type), message = (
                INTERNAL,
                "The request failed unexpectedly; the service's log has the details.",
            )
        match err:
            case errors.Overloaded():
                headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
            case errors.Unauthorized():
                headers.append((b"www-authenticate", b"Bearer"))
            case errors.WrongMethod():
                headers.append((b"allow", ", ".join(err.allowed).encode()))
            case errors.SlowBody():
                headers.append(_CLOSE)
        await _send(send, status, headers, api.render_error(message, error_type, request_id))
        return status, error_type

    async def _read_body(self, headers: Headers, receive: Receive) -> bytes:
        """Return the request's body; refuse a large one before it is read or parsed.

        Raises:
            BodyTooLarge, SlowBody, CallerGone: it is not read to its end.
        """
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length[:20]) > self._settings.max_body_bytes:
            raise errors.BodyTooLarge(self._settings.max_body_bytes)
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            if len(body) > self._settings.max_body_bytes:
                raise errors.BodyTooLarge(self._settings.max_body_bytes)
            return body
        try:
            async with asyncio.timeout(self._settings.read_timeout_s):
                return await self._read_parts(message, receive)
        except TimeoutError:
            raise errors.SlowBody(self._settings.read_timeout_s) from None

    async def _read_parts(self, message: Mapping[str, object], receive: Receive) -> bytes:
        body = bytearray()
        while message["type"] == "http.request":
            body += message.get("body", b"")  # type: ignore[arg-type]
            if len(body) > self._settings.max_body_bytes:
                raise errors.BodyTooLarge(self._settings.max_body_bytes)
            if not message.get("more_body", False):
                return bytes(body)
            message = await receive()
        raise errors.CallerGone


def render(request: api.PredictRequest, answer: Answer) -> bytes:
    """Return the JSON body of an answer."""
    return api.render(request, answer.ranking, answer.scores, answer.missing, answer.degraded_reason)


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _deadline_s(headers: Headers) -> float | None:
    """Return how long the caller will wait, in seconds; None if it does not say.

    Raises:
        InvalidTimeout: the header is no number of milliseconds.
    """
    value = headers.get(_TIMEOUT)
    if value is None:
        return None
    if not value.isdigit() or len(value) > 9 or not int(value):
        raise errors.InvalidTimeout(value.decode("latin-1"))
    return int(value) / 1000
