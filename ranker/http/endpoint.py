"""Endpoint: what every request with a JSON body goes through, from its bytes to an answer or an error.

Owns the order: deadline, body, turn, request, answer; that work stops when the caller hangs up; and which headers an
answer has. What is asked and what is answered, each endpoint says.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Generic, NamedTuple, Protocol, TypeVar

from starlette.types import Receive, Scope, Send

from ranker.api.explain import ExplainRequest
from ranker.api.headers import CLOSE, JSON, MSGPACK, Headers, deadline_s, model_header
from ranker.api.predict import PredictRequest
from ranker.errors import Overloaded
from ranker.http.bodies import to_msgpack, wants_msgpack
from ranker.http.exchange import Exchange, send_answer
from ranker.http.gate import Gate
from ranker.ranking.answer import Answer
from ranker.ranking.explain.explainer import Explanation
from ranker.scheduling.admission import Admission
from ranker.scheduling.turns import Turns
from ranker.telemetry.metrics import Recorder
from ranker.telemetry.observer import Observer

AnyRequest = TypeVar("AnyRequest", bound=PredictRequest)


class Worker(Protocol):
    """API worker: ranks and explains in this process."""

    admission: Admission
    observer: Observer
    recorder: Recorder
    turns: Turns
    draining: bool

    def allowed_s(self, deadline_s: float | None) -> float:
        """Return the seconds that a request may take whose caller waits for `deadline_s`."""

    def model_for(self, user_id: str) -> str:
        """Return the tag of the model that ranks for a user."""

    def rank(
        self, request: PredictRequest, body_bytes: int, arrived: float, deadline_s: float | None
    ) -> Awaitable[Answer]:
        """Answer one checked request that arrived at a time of `time.monotonic`."""

    def explain(self, request: ExplainRequest, arrived: float, deadline_s: float | None) -> Awaitable[Explanation]:
        """Explain one checked request that arrived at a time of `time.monotonic`."""


class Answered(NamedTuple):
    """Answer as it goes back to the caller.

    Attributes:
        body: The JSON.
        model: The tag of the model that ranked.
        server_timing: The value of `Server-Timing`.
    """

    body: bytes
    model: str
    server_timing: str


class Endpoint(ABC, Generic[AnyRequest]):
    """An ASGI app that answers one kind of request.

    Args:
        worker: Returns what ranks; called for each request, for it exists only once the app has started.
        gate: Checks the token.
        exchange: Reads bodies, sends errors.
        max_products: The most products of one request.
        model: The model's tag, for the header `X-Ranker-Model` of answers to requests that could not be read.
    """

    def __init__(
        self, worker: Callable[[], Worker], gate: Gate, exchange: Exchange, max_products: int, model: str
    ) -> None:
        self._worker = worker
        self._gate = gate
        self._exchange = exchange
        self._max_products = max_products
        self._model = model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        worker, sent = self._worker(), [JSON]
        if worker.draining:
            sent.append(CLOSE)
        request: AnyRequest | None = None
        headers: Headers = dict(scope["headers"])
        arrived = monotonic()
        try:
            self._gate.check_caller(scope["path"], headers)
            wanted_s = deadline_s(headers)
            body = await self._exchange.read_body(headers, receive)
            arrived = monotonic()
            if b"content-encoding" in headers and not worker.admission.expect(len(body)):
                raise Overloaded(worker.admission.limit)  # only now is it known how long the body is
            with self._exchange.callers.listening(receive):
                end_turn = await self._turn(worker, body, wanted_s)
                try:
                    request = self._parse(body)
                    answered = await self._answer(worker, headers, request, len(body), arrived, wanted_s)
                finally:
                    if end_turn is not None:
                        end_turn()
        except Exception as err:
            request_id = request.requestId if request else getattr(err, "request_id", None)
            sent.append(model_header(worker.model_for(request.userId) if request else self._model))
            status, error_type = await self._exchange.send_error(send, err, request_id, sent, headers)
            self._failed(worker, headers, request_id, arrived, status, error_type)
            return
        sent.append(model_header(answered.model))
        sent.append((b"server-timing", answered.server_timing.encode()))
        body = answered.body
        if wants_msgpack(headers):
            sent[0], body = MSGPACK, to_msgpack(body)
        await send_answer(send, 200, sent, body)

    @abstractmethod
    async def _turn(self, worker: Worker, body: bytes, deadline_s: float | None) -> Callable[[], None] | None:
        """Wait for the request's turn; return what ends it, if it must be ended."""

    @abstractmethod
    def _parse(self, body: bytes) -> AnyRequest:
        """Check the request; raises as `api.predict.parse_as`."""

    @abstractmethod
    async def _answer(
        self,
        worker: Worker,
        headers: Headers,
        request: AnyRequest,
        body_bytes: int,
        arrived: float,
        deadline_s: float | None,
    ) -> Answered:
        """Answer a checked request; raises as the worker."""

    def _failed(
        self, worker: Worker, headers: Headers, request_id: str | None, arrived: float, status: int, error_type: str
    ) -> None:
        """Take note of an answer that is an error; nothing, unless an endpoint says otherwise."""
