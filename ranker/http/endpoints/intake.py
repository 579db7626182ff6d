"""Intake: from the bodies of requests to rank to their responses; what arrived in one turn of the event loop, together.

Bodies wait until those of this turn are all there, and then are checked, admitted and ranked in one round. A round is
bounded in bytes, and the rest waits for the next turn: asyncio runs everything that is ready before it looks at its
sockets again, and with hundreds of requests that would be a tenth of a second in which no timer fires and no health
check is answered. Owns that each request gets one response, and who is told of it. How requests arrive, and what
carries their responses, others say.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from functools import partial
from time import monotonic

from ranker.api import predict as api
from ranker.api.headers import Headers
from ranker.http.exchange import Response, describe
from ranker.http.worker import Worker
from ranker.ranking.answer import Answer
from ranker.ranking.job import Job

ROUND_BYTES = 64 << 10
"""Of the bodies of one round, JSON: some 60 lists of 100 products, 7 ms of work. A longer body has a round alone. Fewer
would let those who were refused and ask again at once have most of the time."""


class Asked(ABC):
    """A request to rank, from its body to its response.

    Args:
        worker: What ranks.
        headers: The request's.
        body: JSON.
        deadline_s: Seconds that its caller waits; None where it does not say.

    Attributes:
        arrived: When the body was there, by `time.monotonic`.
        request: What it asks for, once that is known.
        job: Its way through the worker, once it has begun.
        over: Whether it has its response, or needs none.
    """

    __slots__ = ("arrived", "body", "deadline_s", "headers", "job", "over", "request", "worker")

    def __init__(self, worker: Worker, headers: Headers, body: bytes, deadline_s: float | None) -> None:
        self.worker = worker
        self.headers = headers
        self.body = body
        self.deadline_s = deadline_s
        self.arrived = monotonic()
        self.request: api.PredictRequest | None = None
        self.job: Job | None = None
        self.over = False

    @abstractmethod
    def respond(self, response: Response) -> None:
        """Take the response; this or `cancel` is called once, unless the request is dropped before."""

    @abstractmethod
    def cancel(self) -> None:
        """Get no response, for the worker has stopped."""


class Intake:
    """Has requests ranked, in rounds.

    Args:
        max_products: The most products of one request.
        model: The model's tag, for responses to requests that could not be read.
    """

    def __init__(self, max_products: int, model: str) -> None:
        self._max_products = max_products
        self._model = model
        self._arrived: deque[Asked] = deque()

    @property
    def waiting(self) -> int:
        """Requests whose body was not looked at yet."""
        return len(self._arrived)

    def take(self, asked: Asked) -> None:
        """Take a request; its response follows, in a later turn of the event loop."""
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._round)
        self._arrived.append(asked)
        asked.worker.admission.queue(len(asked.body))

    def drop(self, asked: Asked) -> None:
        """Give no response to a request, and do no more work for it."""
        asked.over = True
        if asked.job is not None:
            asked.worker.abandon(asked.job)

    def _round(self) -> None:
        """Begin what has arrived, up to a round's bytes."""
        arrived, taken_bytes = self._arrived, 0
        while arrived and (not taken_bytes or taken_bytes + len(arrived[0].body) <= ROUND_BYTES):
            asked = arrived.popleft()
            taken_bytes += len(asked.body)
            asked.worker.admission.unqueue(len(asked.body))
            if not asked.over:
                self._begin(asked)
        if arrived:
            asyncio.get_running_loop().call_soon(self._round)

    def _begin(self, asked: Asked) -> None:
        """Check one request, and have it ranked."""
        try:
            asked.request = api.parse(asked.body, self._max_products)
            asked.job = asked.worker.begin(
                asked.request, partial(self._done, asked), len(asked.body), asked.arrived, asked.deadline_s
            )
        except Exception as err:  # whatever it is belongs to its caller
            self._fail(asked, err)

    def _done(self, asked: Asked, outcome: Answer | BaseException) -> None:
        """Respond to a request that was ranked, or could not be."""
        if isinstance(outcome, BaseException):
            self._fail(asked, outcome)
            return
        request = asked.request
        assert request is not None
        try:
            body = render(request, outcome)
            timing = asked.worker.observer.answered(asked.headers, request, outcome, monotonic())
        except Exception as err:  # one that cannot be rendered must not fail those of its round
            self._fail(asked, err)
            return
        asked.over = True
        asked.respond(Response(200, body, outcome.model, timing))

    def _fail(self, asked: Asked, err: BaseException) -> None:
        """Respond with an error."""
        asked.over = True
        if isinstance(err, asyncio.CancelledError):
            asked.cancel()
            return
        request = asked.request
        request_id = request.requestId if request else getattr(err, "request_id", None)
        model = asked.worker.model_for(request.userId) if request else self._model
        response = describe(err, request_id, asked.headers, model)
        observer = asked.worker.observer
        observer.failed(asked.headers, request_id, asked.arrived, response.status, response.error_type)
        asked.respond(response)


def render(request: api.PredictRequest, answer: Answer) -> bytes:
    """Return the JSON body of an answer."""
    return api.render(
        request, answer.ranking, answer.scores, answer.missing, answer.missing_user, answer.degraded_reason
    )
