"""Heartbeat of the invalidation connection: a question every second, whose answer must come in time.

Announcements come in order, and the answer behind them: so it tells whether they are late, however many come meanwhile.
Owns what is asked and when; the connection is `invalidation`'s.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

HEARTBEAT_S = 1.0
"""Seconds between two questions to the server, and for its answer: what it announces is late by twice this at most."""
PING, COMMANDSTATS = ("PING",), ("INFO", "commandstats")
"""Questions. The second also tells of SWAPDB, which puts other values under all keys and is not announced."""
_SWAPS = re.compile(rb"^cmdstat_swapdb:calls=(\d+)", re.MULTILINE)

Question = tuple[str, ...]


class Heartbeat:
    """Heartbeat of one connection.

    Args:
        clock: The event loop's time.
        commandstats: The reply to `COMMANDSTATS`; None where the server does not tell.
    """

    def __init__(self, clock: Callable[[], float], commandstats: object = None) -> None:
        self._clock = clock
        self._beat = PING if commandstats is None else COMMANDSTATS
        self._swaps = _swapped(commandstats)
        self._owed: deque[Question] = deque()
        self._beat_at, self._due = clock() + HEARTBEAT_S, math.inf

    def question(self) -> Question | None:
        """Return what to ask now; None for nothing.

        Raises:
            ConnectionError: redis-py's; the last answer has not come in time.
        """
        now = self._clock()
        if now >= self._due:
            raise RedisConnectionError(f"no answer for {HEARTBEAT_S:g} s")
        if now < self._beat_at:
            return None
        self._beat_at = self._due = now + HEARTBEAT_S
        self.asked(self._beat)
        return self._beat

    def asked(self, question: Question) -> None:
        """Note that something was asked on this connection, whose answer comes in its turn."""
        self._owed.append(question)

    @property
    def rest_s(self) -> float:
        """Seconds until `question` is to be called again."""
        return max(self._beat_at - self._clock(), 0.0)

    def answered(self, reply: object) -> bool:
        """Take note of what is no announcement; return whether SWAPDB was called.

        Raises:
            InvalidResponse: redis-py's; nothing was asked, or this is no answer.
        """
        if not self._owed or not isinstance(reply, bytes):
            raise InvalidResponse("an answer to what nobody asked")
        if self._owed.popleft() != self._beat:
            return False
        self._due = math.inf
        before, self._swaps = self._swaps, _swapped(reply)
        return self._swaps != before


def _swapped(commandstats: object) -> int:
    """Return how often SWAPDB was called."""
    found = _SWAPS.search(commandstats) if isinstance(commandstats, bytes) else None
    return 0 if found is None else int(found[1])
