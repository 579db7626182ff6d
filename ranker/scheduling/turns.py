"""Turns on the event loop: limits how many requests begin in each of its rounds, and how many long ones run at a time.

Asyncio runs everything that is ready before it looks at its sockets again. With hundreds of requests ready at once that
takes a tenth of a second, in which no timer fires and no health check is answered. And each step of a long request
takes as long as all steps of a short one, so the long ones are let in one or two at a time, and what is short waits for
a step of those and not for all. First come, first served, among the short and among the long. Owns who begins when;
knows nothing of what a request is.
"""

from __future__ import annotations

import asyncio
from collections import deque

TURNS_PER_REFUSAL = 0.4
"""A refusal takes a tenth of the time of a short list, so refusing takes a fifth of a round."""


class Turns:
    """Lets at most `per_round` requests begin in one round of the event loop, and `long_at_a_time` long ones go on.

    Args:
        per_round: Where none are refused.
        long_at_a_time: Of the long ones.
        most_per_round: However many are refused; as many as ever when None.
    """

    def __init__(self, per_round: int, long_at_a_time: int, most_per_round: int | None = None) -> None:
        self._per_round = per_round
        self._most_per_round = most_per_round or per_round
        self._begun = 0
        self._refused = 0
        """In this round."""
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._long = asyncio.Semaphore(long_at_a_time)
        self._long_waiting = 0

    @property
    def waiting(self) -> int:
        """The number that waits for a turn."""
        return len(self._waiting) + self._long_waiting

    async def take(self) -> None:
        """Wait for a turn; not at all when this round has room."""
        loop = asyncio.get_running_loop()
        if not self._begun:
            loop.call_soon(self._next_round)
        if self._begun < self._per_round:  # then nobody waits
            self._begun += 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    async def take_long(self, timeout_s: float) -> bool:
        """Wait for a turn of a long request; return False when there was none in time. `end_long` must follow True."""
        self._long_waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                await self._long.acquire()
        except TimeoutError:
            return False
        finally:
            self._long_waiting -= 1
        try:
            await self.take()
        except BaseException:
            self._long.release()
            raise
        return True

    def end_long(self) -> None:
        """Let the next long request begin."""
        self._long.release()

    def refused(self) -> None:
        """Count a request that was refused in this round."""
        self._refused += 1

    def _next_round(self) -> None:
        per_round = min(self._per_round + int(TURNS_PER_REFUSAL * self._refused), self._most_per_round)
        self._begun = self._refused = 0
        while self._waiting and self._begun < per_round:
            turn = self._waiting.popleft()
            if not turn.done():  # its request is gone
                turn.set_result(None)
                self._begun += 1
        if self._begun:
            asyncio.get_running_loop().call_soon(self._next_round)
