"""Fast lane of `POST /predict`: bytes in, bytes out, below ASGI.

Nearly all requests to rank arrive whole in one packet, as JSON, with a head like those before. To parse such a head
again, to make a scope, a cycle and a task of it, and to hand the body and the response through them as messages takes
as long as the ranking does; here a request costs none of that. Owns which requests these are, and the bytes of their
responses; all others go through the app to the endpoint. What both do with a body, `intake` says.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from ranker import errors
from ranker.api.headers import JSON, Headers, deadline_s, model_header
from ranker.http.bodies import form_of, wants_msgpack
from ranker.http.connection.heads import Head, Heads
from ranker.http.date import date_line
from ranker.http.endpoints.early_refusals import EarlyRefusals
from ranker.http.endpoints.intake import Asked, Intake
from ranker.http.exchange import Response, describe
from ranker.http.gate import Gate
from ranker.http.worker import Worker

PATH = "/predict"
ENDPOINTS_OWN = (b"origin", b"content-encoding")
"""Headers of requests whose way in or out has more to it."""


class Connection(Protocol):
    """Connection of a request."""

    def respond(self, data: bytes) -> None:
        """Send the whole response to the request that waits for one."""

    def abort(self) -> None:
        """End without one."""


class LaneRequest(Asked):
    """Request on the lane; to its connection it is what uvicorn's cycle of a request is, with the names used there.

    Attributes:
        response_complete: Whether there is nothing more to send.
        response_started: Whether a part of the response was sent; it goes out whole.
        disconnected: Whether the caller is gone.
        keep_alive: Whether the connection goes on after it.
    """

    __slots__ = ("connection", "disconnected", "keep_alive", "lane", "response_complete")

    response_started: ClassVar = False
    scope: ClassVar = {"http_version": "1.1"}

    def __init__(self, lane: Lane, connection: Connection, head: Head, body: bytes) -> None:
        super().__init__(lane.worker, head.headers, body, head.deadline_s)
        self.lane = lane
        self.connection: Connection | None = connection
        self.response_complete = self.disconnected = False
        self.keep_alive = True

    def respond(self, response: Response) -> None:
        """Send the response, and hold nothing any more, for the connection keeps this until its next request."""
        if (connection := self._let_go()) is not None:
            connection.respond(self.lane.frame(response, closing=not self.keep_alive))

    def cancel(self) -> None:
        """End the connection."""
        if (connection := self._let_go()) is not None:
            connection.abort()

    @property
    def message_event(self) -> LaneRequest:
        """What is set when the connection is lost."""
        return self

    def set(self) -> None:
        """Take note that the connection is lost."""
        if self.disconnected and not self.over:
            self.lane.hung_up(self)
            self._let_go()

    def _let_go(self) -> Connection | None:
        connection, self.connection = self.connection, None
        self.request = None
        return connection


class Lane:
    """Ranks what arrives whole.

    Args:
        worker: What ranks.
        intake: What has requests ranked.
        gate: Checks the token.
        max_body_bytes: The most bytes of a body.

    Attributes:
        heads: Those of requests that may come here.
        has_room: Whether there is room for a request, by its body's length.
        refuse: Returns the whole response to one for which there is none.
    """

    def __init__(self, worker: Worker, intake: Intake, gate: Gate, max_body_bytes: int) -> None:
        self.worker = worker
        self._intake = intake
        self._gate = gate
        self._max_body_bytes = max_body_bytes
        self.has_room = worker.admission.expect
        self.refuse = EarlyRefusals(worker.admission, worker.recorder).refuse
        self._ranked_by: dict[str, bytes] = {}
        """The model's tag → the head of a ranking by it, from behind the date up to where heads differ."""
        self.heads = Heads(self._read)

    @property
    def is_open(self) -> bool:
        """Whether requests are answered here now; while the worker drains, responses end their connections."""
        return not self.worker.draining

    def take(self, connection: Connection, head: Head, body: bytes) -> LaneRequest:
        """Take a request; its connection gets the response in a later turn of the event loop."""
        asked = LaneRequest(self, connection, head, body)
        self._intake.take(asked)
        return asked

    def hung_up(self, asked: LaneRequest) -> None:
        """Drop a request whose caller is gone."""
        self._intake.drop(asked)
        request_id = asked.request.requestId if asked.request else None
        gone = describe(errors.CallerGone(), request_id, asked.headers)
        self.worker.observer.failed(asked.headers, request_id, asked.arrived, gone.status, gone.error_type)

    def frame(self, response: Response, *, closing: bool) -> bytes:
        """Return a response as it goes over the wire, with the headers that the endpoint's has."""
        end = b"connection: close\r\n" if closing else b""
        if not response.error_type:
            head = self._ranked_by.get(response.model) or self._make_head(response.model)
            body = response.body
            tail = (response.timing, end, len(body), body)
            return b"%b%b%b%b\r\n%bcontent-length: %d\r\n\r\n%b" % (STATUS_LINE[200], date_line(), head, *tail)
        headers = [JSON, *response.headers, model_header(response.model), (b"server-timing", response.timing)]
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        head = b"%b%b%b%b" % (STATUS_LINE[response.status], date_line(), lines, end)
        return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(response.body), response.body)

    def _make_head(self, tag: str) -> bytes:
        lines = b"".join([b"%b: %b\r\n" % header for header in (JSON, model_header(tag))])
        head = self._ranked_by[tag] = b"%bserver-timing: " % lines
        return head

    def _read(self, headers: Headers, body_bytes: int) -> Head | None:
        """Return what is to be known of a request with these headers; None where the endpoint must look at them."""
        if body_bytes > self._max_body_bytes or any(name in headers for name in ENDPOINTS_OWN):
            return None
        try:
            self._gate.check_caller(PATH, headers)
            plain = form_of(headers) is None and not wants_msgpack(headers)
            return Head(headers, body_bytes, deadline_s(headers)) if plain else None
        except errors.RankerError:  # the endpoint says so
            return None
