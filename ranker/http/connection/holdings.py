"""Buffer limit: the bytes and connections that callers make a worker hold, in all.

A body that does not end and an answer that nobody reads are within the limits of one request, and a thousand of them
are not within those of a container. Beyond the limit, who has held something for longest is let go of: that is no
caller in good health. Owns the counts; knows nothing of HTTP.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal, Protocol

from ranker.process.log_limit import Seldom

logger = logging.getLogger("ranker.holdings")

CALM_PART = 16
"""Of the most, where the peak is over."""
Excess = Literal["bytes", "connections"]


class Holder(Protocol):
    """A connection whose bytes are counted."""

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
        self._warnings = Seldom(interval_s=60)

    def connected(self, holder: Holder, descriptor: int) -> None:
        """Count a connection; let go of the oldest that has asked nothing where there are too many."""
        self.connections += 1
        self._new[holder] = None
        if self.connections > self._max_connections or descriptor > self._max_descriptor:
            if self._warnings.due("connections"):
                logger.warning(
                    "%d connections are open, as many as this worker may have; the oldest that ask nothing are closed",
                    self.connections,
                )
            oldest = next(iter(self._new))
            del self._new[oldest]
            self.dropped["connections"] += 1
            oldest.let_go()

    def asked(self, holder: Holder) -> None:
        """Note that a connection asked for something."""
        self._new.pop(holder, None)

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
        self.release(holder)
