"""Buffer limit: the bytes and connections that callers make a worker hold, in all.

A body that does not end and an answer that nobody reads are within the limits of one request, and a thousand of them
are not within those of a container. Beyond the limit, who has held something for longest is let go of: that is no
caller in good health. Owns the counts; knows nothing of HTTP.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from heapq import nsmallest
from time import monotonic
from typing import Literal, Protocol

from ranker.process.log_limit import Seldom

logger = logging.getLogger("ranker.holdings")

CALM_PART = 16
"""Divisor of the most bytes that may be held: below that part of them a peak is over."""
IDLE_PART = 100
"""Divisor of the most connections: so many are closed together where idle ones make room, for to find them takes a look
at all."""
NEXT_LOOK_S = 0.1
"""Seconds until idle connections are looked for again, after a look that found none."""
Excess = Literal["bytes", "connections"]


class Holder(Protocol):
    """A connection whose bytes are counted."""

    @property
    def idle_since(self) -> float | None:
        """When its last answer was given, by any clock that all share; None while it asks or is answered."""

    def let_go(self) -> None:
        """Close it, and free what it holds."""


class Holdings:
    """Counts of bytes and connections that callers of one worker hold.

    Args:
        max_bytes: Of bodies under way and unread answers.
        max_connections: Open at a time.
        max_descriptor: The highest number of an open file that a connection may have, for the rest of the process
            needs some, too.
        calmed: Called when half of the bytes were held, and few are any more.

    Attributes:
        bytes: Held now.
        connections: Open now.
        dropped: How many connections were let go of, by what there was too much of.
    """

    def __init__(
        self, max_bytes: int, max_connections: int, max_descriptor: int, calmed: Callable[[], None] = lambda: None
    ) -> None:
        self.max_bytes = max_bytes
        self._max_connections = max_connections
        self._max_descriptor = max_descriptor
        self.bytes = 0
        self.connections = 0
        self.dropped: dict[Excess, int] = {"bytes": 0, "connections": 0}
        self._calmed = calmed
        self._peaked = False
        self._bytes_of: dict[Holder, int] = {}
        """Whoever has held something for longest first."""
        self._new: dict[Holder, None] = {}
        """Connections that have asked nothing yet, the oldest first."""
        self._known: dict[Holder, None] = {}
        """Those that have."""
        self._next_look = 0.0
        self._warnings = Seldom(interval_s=60)

    def connected(self, holder: Holder, descriptor: int) -> None:
        """Count a connection; where there are too many, let go of others.

        The oldest that has asked nothing goes first, then those that have asked nothing more for longest.
        """
        self.connections += 1
        self._new[holder] = None
        if self.connections > self._max_connections or descriptor > self._max_descriptor:
            if self._warnings.due("connections"):
                logger.warning(
                    "%d connections are open, as many as this worker may have; the oldest that ask nothing are closed",
                    self.connections,
                )
            oldest = next(iter(self._new))
            idle = self._longest_idle() if oldest is holder else ()
            for other in idle or (oldest,):
                self._new.pop(other, None)
                self._known.pop(other, None)
                self.dropped["connections"] += 1
                other.let_go()

    def asked(self, holder: Holder) -> None:
        """Note that a connection asked for something, for the first time."""
        self._new.pop(holder, None)
        self._known[holder] = None

    def hold(self, holder: Holder, more_bytes: int) -> None:
        """Count bytes that are held for a connection; let go of who has held some for longest when it is too much."""
        self.bytes += more_bytes
        self._bytes_of[holder] = self._bytes_of.get(holder, 0) + more_bytes
        self._peaked |= self.bytes > self.max_bytes // 2
        while self.bytes > self.max_bytes:
            if self._warnings.due("bytes"):
                logger.warning(
                    "Bodies under way and unread answers have reached %d MiB; the oldest are dropped",
                    self.max_bytes >> 20,
                )
            oldest = next(iter(self._bytes_of))
            self.release(oldest)
            self.dropped["bytes"] += 1
            oldest.let_go()

    def release(self, holder: Holder) -> None:
        """Count nothing for a connection any more."""
        self.bytes -= self._bytes_of.pop(holder, 0)
        if self._peaked and self.bytes < self.max_bytes // CALM_PART:
            self._peaked = False
            self._calmed()

    def disconnected(self, holder: Holder) -> None:
        """Forget a connection."""
        self.connections -= 1
        self._new.pop(holder, None)
        self._known.pop(holder, None)
        self.release(holder)

    def _longest_idle(self) -> Iterable[Holder]:
        """Return those that have asked nothing more for longest, as many as are closed together."""
        if monotonic() < self._next_look:
            return ()
        idle = [(since, other) for other in self._known if (since := other.idle_since) is not None]
        if not idle:
            self._next_look = monotonic() + NEXT_LOOK_S
        most = max(self._max_connections // IDLE_PART, 1)
        return [other for _, other in nsmallest(most, idle, key=lambda one: one[0])]
