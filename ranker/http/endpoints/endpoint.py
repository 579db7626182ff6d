"""Endpoint: what every request with a JSON body goes through in the app, from its head to a response.

Owns the order: token, deadline, body, response; that work stops when the caller hangs up; and which headers a response
has. What is asked and what is answered, each endpoint says.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from time import monotonic

from starlette.types import Receive, Scope, Send

from ranker.api.headers import JSON, MSGPACK, Headers, deadline_s
from ranker.errors import Overloaded
from ranker.http.bodies import to_msgpack, wants_msgpack
from ranker.http.exchange import Exchange, Response, describe
from ranker.http.exchange import send as send_response
from ranker.http.gate import Gate
from ranker.http.worker import Worker


class Endpoint(ABC):
    """An ASGI app that answers one kind of request.

    Args:
        worker: Returns what ranks; called for each request, for it exists only once the app has started.
        gate: Checks the token.
        exchange: Reads bodies.
        model: The model's tag, for responses to requests that could not be read.
    """

    def __init__(self, worker: Callable[[], Worker], gate: Gate, exchange: Exchange, model: str) -> None:
        self._worker = worker
        self._gate = gate
        self._exchange = exchange
        self._model = model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        worker = self._worker()
        headers: Headers = dict(scope["headers"])
        arrived = monotonic()
        try:
            self._gate.check_caller(scope["path"], headers)
            wanted_s = deadline_s(headers)
            body = await self._exchange.read_body(headers, receive)
            if b"content-encoding" in headers and not worker.admission.expect(len(body)):
                raise Overloaded(worker.admission.limit)  # only now is it known how long the body is
            with self._exchange.callers.listening(receive):
                response = await self._answer(worker, headers, body, wanted_s)
        except Exception as err:
            response = describe(err, None, headers, self._model, arrived)
            self._failed(worker, headers, arrived, response)
        kind = JSON
        if not response.error_type and wants_msgpack(headers):
            kind, response = MSGPACK, response._replace(body=to_msgpack(response.body))
        await send_response(send, response, kind, closing=worker.draining)

    @abstractmethod
    async def _answer(self, worker: Worker, headers: Headers, body: bytes, deadline_s: float | None) -> Response:
        """Return the response to a request; an error that the request or its ranking is to blame for is one, too."""

    def _failed(self, worker: Worker, headers: Headers, arrived: float, response: Response) -> None:  # noqa: B027 - most need no note
        """Take note of an error before there was a body, or of a caller who is gone."""
