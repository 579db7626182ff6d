"""Taking turns on the event loop: so many requests begin in each of its rounds, first come, first served.

Asyncio runs everything that is ready before it looks at its sockets again. With hundreds of requests ready at once that
takes a tenth of a second, in which no timer fires and no health check is answered. Owns who begins when; knows nothing
of what a request is.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """Lets at most `limit` requests begin in one round of the event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begun = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many have not begun."""
        return len(self._waiting)

    async def take(self) -> None:
        """Wait for a turn; not at all when this round has room."""
        loop = asyncio.get_running_loop()
        if not self._begun:
            loop.call_soon(self._next_round)
        if self._begun < self._limit:  # then nobody waits
            self._begun += 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _next_round(self) -> None:
        self._begun = 0
        while self._waiting and self._begun < self._limit:
            turn = self._waiting.popleft()
            if not turn.done():  # its request is gone
                turn.set_result(None)
                self._begun += 1
        if self._begun:
            asyncio.get_running_loop().call_soon(self._next_round)
