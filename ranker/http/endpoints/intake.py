"""Intake: from the bodies of requests to rank to their responses; what arrived in one turn of the event loop, together.

Bodies wait until those of this turn are all there, and then are checked, admitted and ranked in one round. A round is
bounded in bytes, and the rest waits for the next turn: asyncio runs everything that is ready before it looks at its
sockets again, and with hundreds of requests that would be a tenth of a second in which no timer fires and no health
check is answered. And each step of a long list takes as long as all steps of a short one, so long ones are let in one
at a time, and what is short waits for a step of one and not of all. Owns who begins when, that each request gets one
response, and who is told of it. How requests arrive, and what carries their responses, others say.
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
"""Bytes of the bodies of one round, JSON: some 60 lists of 100 products, 7 ms of work. A longer body has a round alone.
Fewer would let those who were refused and ask again at once have most of the time."""
LONG_COMMAS = 256
"""Commas of a body above which it is long: it has about as many products, and each step holds the loop for ms."""
LONG_BYTES = 32 << 10
"""Bytes of a body above which it is long, whatever they are: 1 MB may take 15 ms to parse."""


class Asked(ABC):
    """A request to rank, from its body to its response.

    Args:
        worker: What ranks.
        headers: The request's.
        body: JSON; let go of once it was looked at.
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
        self._short: deque[Asked] = deque()
        self._long: dict[Asked, asyncio.TimerHandle] = {}
        """In the order in which they came, and what happens when the time of one is up."""
        self._long_under_way: Asked | None = None

    @property
    def waiting(self) -> int:
        """Requests whose body was not looked at yet."""
        return len(self._short) + len(self._long)

    def take(self, asked: Asked) -> None:
        """Take a request; its response follows, in a later turn of the event loop."""
        body, loop = asked.body, asyncio.get_running_loop()
        asked.worker.admission.queue(len(body))
        if len(body) > LONG_BYTES or body.count(b",") > LONG_COMMAS:
            allowed_s = asked.worker.allowed_s(asked.deadline_s)
            self._long[asked] = loop.call_later(allowed_s, self._give_up_waiting, asked)
            loop.call_soon(self._begin_long)
        else:
            self._begin_soon(asked)

    def drop(self, asked: Asked) -> None:
        """Give no response to a request, hold nothing of it any more, and do no more work for it."""
        if asked.job is not None:
            asked.worker.abandon(asked.job)
        elif (timer := self._long.pop(asked, None)) is not None:
            timer.cancel()
        asked.worker.admission.unqueue(len(asked.body))
        asked.body = b""
        self._end(asked)

    def _begin_soon(self, asked: Asked) -> None:
        if not self._short:
            asyncio.get_running_loop().call_soon(self._round)
        self._short.append(asked)

    def _round(self) -> None:
        """Begin what is short and has arrived, up to a round's bytes."""
        short, taken_bytes = self._short, 0
        while short and (not taken_bytes or taken_bytes + len(short[0].body) <= ROUND_BYTES):
            taken_bytes += len(short[0].body)
            self._begin(short.popleft())
        if short:
            asyncio.get_running_loop().call_soon(self._round)

    def _begin_long(self) -> None:
        """Begin the next long one, if none is under way."""
        if self._long and self._long_under_way is None:
            asked = self._long_under_way = next(iter(self._long))
            self._long.pop(asked).cancel()
            self._begin(asked)

    def _give_up_waiting(self, asked: Asked) -> None:
        """Begin a long one whose time is up, for its response to say so."""
        del self._long[asked]
        self._begin_soon(asked)

    def _end(self, asked: Asked) -> None:
        """Let go of a request that is over, and let the next long one begin in the next turn of the loop."""
        asked.over = True
        asked.job = None  # it knows whom to tell, and the two would hold each other
        if asked is self._long_under_way:
            self._long_under_way = None
            asyncio.get_running_loop().call_soon(self._begin_long)

    def _begin(self, asked: Asked) -> None:
        """Check one request, and have it ranked."""
        body, asked.body = asked.body, b""
        asked.worker.admission.unqueue(len(body))
        if asked.over:
            self._end(asked)
            return
        try:
            asked.request = api.parse(body, self._max_products)
            asked.job = asked.worker.begin(
                asked.request, partial(self._done, asked), len(body), asked.arrived, asked.deadline_s
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
        self._end(asked)
        asked.respond(Response(200, body, outcome.model, timing))

    def _fail(self, asked: Asked, err: BaseException) -> None:
        """Respond with an error."""
        self._end(asked)
        if isinstance(err, asyncio.CancelledError):
            asked.cancel()
            return
        request = asked.request
        request_id = request.requestId if request else getattr(err, "request_id", None)
        model = asked.worker.model_for(request) if request else self._model
        response = describe(err, request_id, asked.headers, model, asked.arrived)
        observer = asked.worker.observer
        observer.failed(asked.headers, request_id, asked.arrived, response.status, response.error_type)
        asked.respond(response)


def render(request: api.PredictRequest, answer: Answer) -> bytes:
    """Return the JSON body of an answer."""
    return api.render(
        request, answer.ranking, answer.scores, answer.missing, answer.missing_user, answer.degraded_reason
    )
