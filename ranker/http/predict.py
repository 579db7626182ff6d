"""`POST /predict`: a ranking of JSON, as JSON.

Owns when a ranking request has its turn. What ranks is handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from ranker.api import predict as api
from ranker.api.headers import Headers
from ranker.http.endpoint import Answered, Endpoint, Worker
from ranker.ranking.answer import Answer

PATH = "/predict"
LONG_COMMAS = 256
"""A body with more commas, that is, with about as many products, is long: its steps hold the loop for milliseconds."""
LONG_BYTES = 32 << 10
"""So is one with more bytes, whatever they are: 1 MB may take 15 ms to parse."""


class PredictEndpoint(Endpoint[api.PredictRequest]):
    """An ASGI app that answers `POST /predict`."""

    async def _turn(self, worker: Worker, body: bytes, deadline_s: float | None) -> Callable[[], None] | None:
        worker.admission.queue(len(body))
        try:
            if len(body) <= LONG_BYTES and body.count(b",") <= LONG_COMMAS:
                await worker.turns.take()
                return None
            return worker.turns.end_long if await worker.turns.take_long(worker.allowed_s(deadline_s)) else None
        finally:
            worker.admission.unqueue(len(body))

    def _parse(self, body: bytes) -> api.PredictRequest:
        return api.parse(body, self._max_products)

    async def _answer(
        self,
        worker: Worker,
        headers: Headers,
        request: api.PredictRequest,
        body_bytes: int,
        arrived: float,
        deadline_s: float | None,
    ) -> Answered:
        answer = await worker.rank(request, body_bytes, arrived, deadline_s)
        body = render(request, answer)
        return Answered(body, answer.model, worker.observer.answered(headers, request, answer, monotonic()))

    def _failed(
        self, worker: Worker, headers: Headers, request_id: str | None, arrived: float, status: int, error_type: str
    ) -> None:
        worker.observer.failed(headers, request_id, arrived, status, error_type)


def render(request: api.PredictRequest, answer: Answer) -> bytes:
    """Return the JSON body of an answer."""
    return api.render(
        request, answer.ranking, answer.scores, answer.missing, answer.missing_user, answer.degraded_reason
    )
