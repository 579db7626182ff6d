"""HTTP/1.1 conversation: what was asked is answered, in order, whatever else arrives on the connection.

uvicorn's protocol forgets what it owes when a caller half-closes or when no HTTP follows, and loses the body of a
request that offers an upgrade. Owns the order of answers and the end of a connection; bounds are `protocol`'s.
"""

from __future__ import annotations

import logging
import select
from asyncio import AbstractEventLoop, TimerHandle, Transport
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ranker.api.error import render_error
from ranker.http.date import date_line
from ranker.process.log_limit import Seldom

logger = logging.getLogger("ranker.conversation")

PROBE_S = 0.05
"""Interval, after a caller's last byte, at which it is asked whether it is still there."""
LINGER_S = 1.0
"""Time for which bytes after a refusal are read and dropped: the kernel answers what nobody reads with a reset,
which may overtake the refusal."""
HOP_BY_HOP = (b"upgrade", b"http2-settings")
"""Headers that belong to an upgrade, and go with it."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_warnings = Seldom(interval_s=60)


def _nothing() -> None:
    pass


class Refused(Exception):
    """The parser is to stop, and the connection to end with an answer.

    Args:
        status: With its phrase.
        error: One sentence for people.
        error_type: One stable word for programs.
    """

    def __init__(self, status: str, error: str, error_type: str) -> None:
        super().__init__(error)
        body = render_error(error, error_type, None)
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.answer = b"%b%bconnection: close\r\n\r\n%b" % (head.encode(), date_line(), body)


class Conversation(HttpToolsProtocol):
    """One connection, from its first request to its last answer."""

    hung_up: Callable[[object], None] | None = None

    loop: AbstractEventLoop
    transport: Transport

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ws_protocol_class = None
        self._in_head = self._in_message = False
        self._running: RequestResponseCycle | None = None
        """The request that is answered now; those after it wait in `pipeline`."""
        self._receiving: RequestResponseCycle | None = None
        """The request whose body is not whole."""
        self._last_words: bytes | None = None
        """What is said when nothing is owed any more, before the end; None while there may be more requests."""
        self._plain_head: bytes | None = None
        """The head that the parser stopped at, for it offers an upgrade, without the offer."""
        self._chunked: object = None
        """The headers of the request that was last seen to come in chunks."""
        self._end_timer: TimerHandle | None = None
        """Looks after a connection that is about to end."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._end_timer is not None:
            self._end_timer.cancel()
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
            hung_up = type(self).hung_up
            if hung_up is not None:
                hung_up(running)
        for waiting, _ in self.pipeline:
            waiting.on_response = _nothing  # it is a method of this, and the two would hold each other
        self.pipeline.clear()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._last_words is not None:
            return
        rest: bytes | memoryview = data
        try:
            while True:
                try:
                    self.parser.feed_data(rest)
                    return
                except httptools.HttpParserUpgrade as stopped:
                    rest = memoryview(rest)[stopped.args[0] :]
                    plain_head, self._plain_head = self._plain_head, None
                    assert plain_head is not None
                    self.parser = httptools.HttpRequestParser(self)
                    self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                    self.parser.feed_data(plain_head)
        except httptools.HttpParserError as err:
            refused = err.__context__
            if not isinstance(refused, Refused):
                refused = Refused("400 Bad Request", "What arrived is no valid HTTP request.", "invalid_http")
                if _warnings.due():
                    logger.warning("Something that is no HTTP arrived, from %s; it got 400", self.client)
            self.end(refused.answer)

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's keeps none
        """Keep the connection of a caller that sends no more, until what it asked for is answered."""
        if self._last_words is None:
            self.end(b"")
        owes = self._running is not None and not self._running.response_complete
        if self.transport.is_closing() or not owes or self.scheme == "https":  # asyncio's TLS cannot be half closed
            return False
        if self._end_timer is None:
            self._end_timer = self.loop.call_later(PROBE_S, self._probe)
        return True

    def end(self, last_words: bytes) -> None:
        """Listen no more, and close with some last words as soon as nothing is owed."""
        self._last_words = last_words
        self._in_head = self._in_message = False
        broken, self._receiving = self._receiving, None
        if broken is not None:
            broken.disconnected, broken.body = True, bytearray()
            broken.message_event.set()
            if self.pipeline and self.pipeline[0][0] is broken:
                self.pipeline.popleft()
        running = self._running
        if running is None or running.response_complete or running is broken:
            if broken is not None and broken.response_started:
                self._last_words = b""
            self._close()
        else:
            self.flow.pause_reading()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = self._in_message = True

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self.parser.should_upgrade():
            self._plain_head = self._without_upgrade()
            return
        earlier = self.cycle
        super().on_headers_complete()
        if self.cycle is not earlier:
            self._receiving = self.cycle

    def on_chunk_header(self) -> None:
        """Refuse what is coded otherwise than in chunks (RFC 9112, 6.1); called for each of them."""
        if self._chunked is self.headers:
            return
        self._chunked = self.headers
        codings = b",".join(value for name, value in self.headers if name == b"transfer-encoding")
        if codings.strip().lower() != b"chunked":
            message = "Of transfer codings, chunked alone is understood."
            raise Refused("501 Not Implemented", message, "unknown_coding")

    def on_message_complete(self) -> None:
        if self._plain_head is not None:
            return
        self._in_message = False
        self._receiving = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._last_words is not None and not self.pipeline:
            self.server_state.total_requests += 1
            self._close()
        else:
            super().on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _without_upgrade(self) -> bytes:
        """Return the head without its offer to speak another protocol, which a server may ignore (RFC 9110, 7.8)."""
        if self.parser.get_method() == b"CONNECT":
            raise Refused("400 Bad Request", "This is no proxy.", "invalid_http")
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                options = (option.strip() for option in value.split(b","))
                value = b", ".join(option for option in options if option.lower() not in HOP_BY_HOP)
            if name not in HOP_BY_HOP:
                lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"", b""])

    def _close(self) -> None:
        if not self._last_words or self.transport.is_closing() or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write(self._last_words)
        self.transport.write_eof()
        self.flow.resume_reading()
        if self._end_timer is not None:
            self._end_timer.cancel()
        self._end_timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _probe(self) -> None:
        """Hang up on a caller that has gone: its last byte looks the same as that of one that still listens.

        What is sent to the former comes back as a reset, which poll tells of; an interim answer does the latter no
        harm. Of a unix socket poll tells without.
        """
        if self.transport.is_closing() or self._running is None:
            return
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), 0)
        if poll.poll(0):
            self.transport.abort()
            return
        waits = not self._running.response_started and self._running.scope["http_version"] == "1.1"
        if waits and self.client is not None:
            self.transport.write(CONTINUE)
        self._end_timer = self.loop.call_later(PROBE_S, self._probe)
