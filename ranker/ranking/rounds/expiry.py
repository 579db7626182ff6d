"""Expiry: one timer that looks after the deadlines of many.

Owns when it rings. Knows nothing of what is late.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Expiry:
    """A timer that rings at the earliest deadline, and then at the next.

    Args:
        expire: Ends what is late at a time, by the event loop's clock, and returns the next deadline; infinity for
            none.
    """

    def __init__(self, expire: Callable[[float], float]) -> None:
        self._expire = expire
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, deadline: float) -> None:
        """Ring at a deadline, too."""
        if self._timer is None or deadline < self._timer.when():
            self._ring_at(deadline)

    def stop(self) -> None:
        """Ring no more."""
        self._ring_at(math.inf)

    def _ring_at(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline < math.inf:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._ring_at(self._expire(asyncio.get_running_loop().time()))
