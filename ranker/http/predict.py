"""`POST /predict` over ASGI: bytes in, bytes out; and who answers the other paths.

Owns when a request has its turn, and what an answer's headers are. What ranks is handed in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from ranker import errors
from ranker.api import predict as api
from ranker.api.headers import CLOSE, JSON, Headers, deadline_s, model_header
from ranker.http.exchange import Exchange, send_answer
from ranker.http.gate import Gate
from ranker.http.hang_ups import Callers
from ranker.ranking.answer import Answer
from ranker.scheduling.admission import Admission
from ranker.scheduling.turns import Turns
from ranker.telemetry.metrics import Recorder
from ranker.telemetry.observer import Observer

LONG_COMMAS = 256
"""A body with more commas, that is, with about as many products, is long: its steps hold the loop for milliseconds."""
LONG_BYTES = 32 << 10
"""So is one with more bytes, whatever they are: 1 MB may take 15 ms to parse."""


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

    def model_for(self, user_id: str) -> str:
        """Return the tag of the model that ranks for a user."""

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
        exchange: Reads bodies, sends errors.
        max_products: The most products of one request.
        model: The model's tag, for the header `X-Ranker-Model` of answers to requests that could not be read.
        beside: (method, path) → what answers it in place of `app`.
    """

    def __init__(
        self,
        app: ASGIApp,
        gate: Gate,
        worker: Callable[[], Worker],
        exchange: Exchange,
        max_products: int,
        model: str,
        beside: Mapping[tuple[str, str], ASGIApp],
    ) -> None:
        self.app = app
        self._gate = gate
        self._worker = worker
        self._exchange = exchange
        self._max_products = max_products
        self._model = model
        self._beside = beside

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
                await self._exchange.send_error(send, err, None, [JSON], {})
                return
            if answer := self._beside.get((method, path)):
                await answer(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _predict(self, scope: Scope, receive: Receive, send: Send) -> None:
        worker = self._worker()
        headers = [JSON]
        if worker.draining:
            headers.append(CLOSE)
        request: api.PredictRequest | None = None
        said: Headers = dict(scope["headers"])
        arrived = monotonic()
        try:
            self._gate.check_caller("/predict", said)
            wanted_s = deadline_s(said)
            body = await self._exchange.read_body(said, receive)
            arrived = monotonic()
            with worker.callers.listening(receive):
                long = await self._turn(worker, body, wanted_s)
                try:
                    request = api.parse(body, self._max_products)
                    answer = await worker.rank(request, len(body), arrived, wanted_s)
                    body = render(request, answer)
                finally:
                    if long:
                        worker.turns.end_long()
        except Exception as err:
            request_id = request.requestId if request else getattr(err, "request_id", None)
            headers.append(model_header(worker.model_for(request.userId) if request else self._model))
            status, error_type = await self._exchange.send_error(send, err, request_id, headers, said)
            worker.observer.failed(said, request_id, arrived, status, error_type)
            return
        model = worker.model_for(request.userId)
        headers.append(model_header(model))
        server_timing = worker.observer.answered(said, request, model, answer, monotonic())
        headers.append((b"server-timing", server_timing.encode()))
        await send_answer(send, 200, headers, body)

    async def _turn(self, worker: Worker, body: bytes, deadline_s: float | None) -> bool:
        """Wait for the request's turn; return whether it is one of a long request, which must be ended."""
        worker.admission.queue(len(body))
        try:
            if len(body) <= LONG_BYTES and body.count(b",") <= LONG_COMMAS:
                await worker.turns.take()
                return False
            return await worker.turns.take_long(worker.allowed_s(deadline_s))
        finally:
            worker.admission.unqueue(len(body))


def render(request: api.PredictRequest, answer: Answer) -> bytes:
    """Return the JSON body of an answer."""
    return api.render(
        request, answer.ranking, answer.scores, answer.missing, answer.missing_user, answer.degraded_reason
    )
