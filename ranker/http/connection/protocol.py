"""HTTP protocol of uvicorn with bounds: how long a request may take to arrive, how large its head is, what is refused.

uvicorn waits for ever for the first byte of a connection and for the end of a head, its fast parser takes heads of any
size, and BentoML has it close idle connections after 5 s, sooner than any balancer in front. And under overload, when
most requests must be refused, what it does for each (parse, scope, task, two writes) is a third of what ranking costs.
Its protocol is a class that its configuration names; BentoML does not hand that option through, so `install` puts ours
under the name that uvicorn takes by default. Owns time, heads and refusals; bodies are the route's, the order of
answers is `conversation`'s, and what is held in all `buffered`'s.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import sys
from asyncio import TimerHandle, Transport
from collections.abc import Callable
from typing import Any

import uvicorn.config

from ranker.http.connection import accepting
from ranker.http.connection.buffered import SMALL_BYTES, Buffered
from ranker.http.connection.conversation import Refused
from ranker.http.connection.corked import Corked
from ranker.http.connection.heads import MAX_HEADERS
from ranker.http.connection.holdings import Holdings
from ranker.http.connection.lane import Lane
from ranker.process.descriptors import raise_limit
from ranker.process.memory import give_back_freed_memory

MAX_HEAD_BYTES = 64 << 10
PREDICT = b"POST /predict HTTP/1.1\r\n"
SPARE_DESCRIPTORS = 2 * accepting.ACCEPTS_PER_ROUND
"""File descriptors kept for Redis, the model and files, and for connections that are accepted and not counted yet."""
GIVE_BACK_S = (1.0, 5.0, 15.0)
"""Seconds after a peak of what connections hold at which memory is given back; on a busy machine their work takes a
while to end."""


def large_head() -> Refused:
    """Return the refusal of a head that is too large."""
    return Refused("431 Request Header Fields Too Large", "The headers are too large.", "large_head")


class BoundedProtocol(Buffered):
    """One connection. A request that is whole when its first bytes are read, as nearly all are, costs no timer."""

    lane: Lane | None = None
    keep_alive_s: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout_keep_alive = self.keep_alive_s  # type: ignore[assignment]  # uvicorn's is a whole number
        # uvicorn makes a line of each answer for a logger that throws it away.
        self.access_log = self.access_log and self.access_logger.isEnabledFor(logging.INFO)
        self._timer: TimerHandle | None = None
        self._in_grace = False
        """The head is there, the time is up, and the route has as long again to give up the body."""
        self._head_bytes = 0
        """Of the head that is read, in the packets before this one."""
        self._packet_bytes = 0
        self._spoke_at = -math.inf
        """When the last answer went out that no timer was armed for."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's does
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_USER_TIMEOUT") and connection.family != socket.AF_UNIX:
            # The end of an answer that nobody reads would stay in the kernel's memory, and hold up a stop.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self.timeout_s * 1000))
        self._timer = self.loop.call_later(self.timeout_s, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_timer()

    def data_received(self, data: bytes) -> None:
        if self.lane is not None and self._goes_short(self.lane, data):
            return
        self._packet_bytes = len(data)
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._hang_up(large_head())
        if not self._in_message:
            self._stop_timer()
        elif self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.timeout_s, self._late)

    def end(self, last_words: bytes) -> None:
        self._stop_timer()
        super().end(last_words)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        if len(self.headers) > MAX_HEADERS:
            raise Refused("400 Bad Request", f"There are more than {MAX_HEADERS} headers.", "invalid_http")
        if self._head_bytes + self._packet_bytes > MAX_HEAD_BYTES:
            lines = (len(name) + len(value) + len(b": \r\n") for name, value in self.headers)
            if len(self.url) + sum(lines) > MAX_HEAD_BYTES:
                raise large_head()
        earlier = self.cycle
        super().on_headers_complete()
        if self.cycle is not earlier and self.scope["method"] == "POST":  # others may have no body, as to HEAD
            self.cycle.transport = Corked(self.transport, self.cycle)  # type: ignore[assignment]  # all it uses of one

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; the lane does not touch the timer, so look when it last spoke."""
        self.timeout_keep_alive_task = None
        since = self.loop.time() if self._answering else self._spoke_at
        left_s = since + self.timeout_keep_alive - self.loop.time()
        if left_s <= 0:
            super().timeout_keep_alive_handler()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)

    @property
    def idle_since(self) -> float | None:
        """When the last answer was given, on the loop's clock; None while something is asked, answered or unread."""
        since = super().idle_since
        return None if since is None or self._answering else max(since, self._spoke_at)

    def respond(self, data: bytes) -> None:
        """Send the whole response to the request on the lane."""
        asked = self._running
        assert asked is not None
        asked.response_complete = True
        self.transport.write(data)
        self._spoke_at = self.loop.time()
        if not asked.keep_alive:
            self.transport.close()
        if self._last_words is not None or self.pipeline:
            self.on_response_complete()
            return
        self.server_state.total_requests += 1
        if self._holds:
            self._settle()
        if self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self.timeout_keep_alive_handler()

    def abort(self) -> None:
        """End without a response to the request on the lane."""
        self.transport.abort()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _goes_short(self, lane: Lane, data: bytes) -> bool:
        """Hand a whole ranking request to the lane, or refuse it; say whether it was one."""
        if (
            not data.startswith(PREDICT)
            or self._in_message
            or self._answering
            or self.flow.write_paused
            or self._last_words is not None
            or self.access_log  # somebody reads it
            or not lane.is_open
        ):
            return False
        end = data.find(b"\r\n\r\n") + 4
        head = lane.heads.find(data[:end]) if end > len(PREDICT) else None
        if head is None or head.body_bytes != len(data) - end:
            return False
        if self._timer is not None:
            self._stop_timer()
        if not self._asked:
            self._asked = True
            self.holdings.asked(self)
        if not lane.has_room(head.body_bytes):
            self.transport.write(lane.refuse())
            self._spoke_at = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_handler()
            return True
        if len(data) > SMALL_BYTES:  # it would have to be counted
            return False
        self.cycle = self._running = lane.take(self, head, data[end:])
        return True

    def _late(self) -> None:
        self._timer = None
        if not self._in_message or self._in_head:
            self._hang_up(
                Refused("408 Request Timeout", f"No request arrived within {self.timeout_s:g} s.", "slow_head")
            )
        elif self._in_grace:
            self.transport.abort()
        else:
            self._in_grace = True
            self._timer = self.loop.call_later(self.timeout_s, self._late)

    def _stop_timer(self) -> None:
        self._in_grace = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hang_up(self, refused: Refused) -> None:
        """Close, with an answer where something was asked."""
        self.end(refused.answer if self._in_head else b"")


def install(timeout_s: float, keep_alive_s: float, max_buffered_bytes: int, max_connections: int) -> None:
    """Have uvicorn use this protocol in this process.

    Args:
        timeout_s: How long a request's head may take, and its body again, in seconds.
        keep_alive_s: How long a connection may idle after an answer, in seconds.
        max_buffered_bytes: Of bodies under way and unread answers, of all connections.
        max_connections: Open at a time.
    """
    BoundedProtocol.timeout_s = timeout_s
    BoundedProtocol.keep_alive_s = keep_alive_s
    max_descriptor = raise_limit() - SPARE_DESCRIPTORS
    BoundedProtocol.holdings = Holdings(max_buffered_bytes, max_connections, max_descriptor, _give_back_soon)
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{BoundedProtocol.__name__}"
    accepting.install()


def _give_back_soon() -> None:
    """Give memory back when what let go of it has ended; in a thread, for it takes a while."""
    loop = asyncio.get_running_loop()
    for seconds in GIVE_BACK_S:
        loop.call_later(seconds, loop.run_in_executor, None, give_back_freed_memory)


def tell_of_hang_ups(hung_up: Callable[[object], None]) -> None:
    """Have a function told of requests whose connection is lost before their answer: of what `receive` belongs to."""
    BoundedProtocol.hung_up = staticmethod(hung_up)


def open_lane(lane: Lane) -> None:
    """Have ranking requests that are whole in one packet answered there."""
    BoundedProtocol.lane = lane


def trust_callers() -> None:
    """Hold whatever callers send, for they are this service's own: matrices of many megabytes, in the runner."""
    BoundedProtocol.holdings.max_bytes = sys.maxsize
