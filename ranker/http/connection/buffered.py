"""Buffer accounting of one connection: bytes of bodies under way, of requests that wait, of answers unread.

Owns when something counts; how much there may be, and who is let go of, is `holdings`'.
"""

from __future__ import annotations

import fcntl
import termios
from array import array
from asyncio import TimerHandle, Transport
from contextlib import suppress
from typing import Any

from ranker.http.connection.conversation import Conversation, Refused
from ranker.http.connection.holdings import Holdings

READ_BYTES = 64 << 10
"""Bytes that are read at a time: in asyncio's 256 KiB may be 40,000 chunks, or 9,000 requests, and hold the loop
for 30 ms."""
SMALL_BYTES = 16 << 10
"""Free size: a request that arrives whole and is no longer counts for nothing, nor does so much of an unread answer."""
MAX_PIPELINED = 100
"""Requests that wait on one connection: 64 KiB may be 2,000, and making them would hold the loop for 45 ms."""
PIPELINED_BYTES = 4 << 10
"""Bytes of memory that a request takes which waits for those before it."""


class Buffered(Conversation):
    """One connection. A request that arrives whole, and whose answer is read, costs no count."""

    holdings: Holdings
    timeout_s: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._holds = False
        """Something is counted."""
        self._asked = False
        """Anything, ever."""
        self._unread_timer: TimerHandle | None = None
        self._unread_bytes = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's does
        super().connection_made(transport)
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]  # asyncio's, of its transports over sockets
        transport.set_write_buffer_limits(high=SMALL_BYTES)
        self.holdings.connected(self, transport.get_extra_info("socket").fileno())

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_unread_timer()
        self.holdings.disconnected(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if (self._in_message or len(data) > SMALL_BYTES) and self._last_words is None:
            answered_already = self._receiving is not None and self._receiving.response_complete
            if not answered_already:
                self._hold(len(data) + PIPELINED_BYTES * len(self.pipeline))
        if self._holds:
            self._settle()

    def on_headers_complete(self) -> None:
        if not self._asked:
            self._asked = True
            self.holdings.asked(self)
        if len(self.pipeline) >= MAX_PIPELINED:
            message = f"More than {MAX_PIPELINED} requests wait on this connection; send fewer before their answers."
            raise Refused("429 Too Many Requests", message, "overloaded")
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._holds:
            self._settle()

    def pause_writing(self) -> None:
        """Count what the caller has not read, and wait for it to read on; called by the transport."""
        super().pause_writing()
        self._unread_bytes = self._unread()
        self._unread_timer = self.loop.call_later(self.timeout_s, self._watch_unread)
        self._hold(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Count it no more; called by the transport."""
        super().resume_writing()
        self._stop_unread_timer()
        self._settle()

    @property
    def idle_since(self) -> float | None:
        """When the last answer was given, on the loop's clock; None while something is asked, answered or unread."""
        timer = self.timeout_keep_alive_task
        if timer is None or self._in_message or self.transport.get_write_buffer_size():
            return None
        return timer.when() - self.timeout_keep_alive

    def let_go(self) -> None:
        """Close, and free what is held, for there is no room for it."""
        self._holds = False
        if self._receiving is None or self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            message = "The service holds as much of unfinished requests as it may; try again shortly."
            self.end(Refused("429 Too Many Requests", message, "overloaded").answer)

    def _hold(self, more_bytes: int) -> None:
        if not self.transport.is_closing():
            self._holds = True
            self.holdings.hold(self, more_bytes)

    def _unread(self) -> int:
        """Return the bytes that are written and not read, the kernel's among them, which may be megabytes."""
        queued = array("i", [0])
        with suppress(OSError):
            fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, queued)
        return self.transport.get_write_buffer_size() + queued[0]

    def _watch_unread(self) -> None:
        """Hang up on a caller that has read nothing since the last look."""
        before, self._unread_bytes = self._unread_bytes, self._unread()
        if self._unread_bytes >= before:
            self.transport.abort()
        else:
            self._unread_timer = self.loop.call_later(self.timeout_s, self._watch_unread)

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _settle(self) -> None:
        """Count nothing any more if nothing is held."""
        answering = self._running is not None and not self._running.response_complete
        if not (self._in_message or answering or self.pipeline or self.flow.write_paused):
            self._holds = False
            self.holdings.release(self)
