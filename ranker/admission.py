"""Who is let in: as many rows as can be ranked in good time.

The most rows in flight are set. Below that the limit moves while there is pressure, that is, while requests are
refused or scores come late, and for a moment longer: it is what is ranked in the time that answers may take (Little's
law: in flight = throughput x latency), so a slow model or a busy machine lets in less, and what is let in is answered
in time. Throughput is known at once, where the latency of what is let in now shows only when it is answered; a limit
that follows latency swings. Without pressure nothing is held back, however long the queue: 500 callers who each wait
for their answer are no overload. What is refused must cost next to nothing, so a request is refused by the length of
its body, before that is read, where the rows that bodies of this length tend to have do not fit. Knows nothing of
HTTP.
"""

from __future__ import annotations

import asyncio
import math
from time import monotonic

from ranker.errors import Overloaded

ADJUST_S = 0.1
STEP = 1.3
"""The limit changes by this factor at most, each `ADJUST_S`."""
HOLD_S = 1.0
"""Pressure lasts for so long after the last sign of it: between two signs the queue may be about to fill again."""
RISING_WEIGHT, FALLING_WEIGHT = 0.3, 0.1
"""How much the latest `ADJUST_S` count in the rows ranked a second: after a quiet time, what can be ranked shows only
once there is enough to rank."""
FIRST_ROW_BYTES = 16.0
"""What a row of a request is taken to be long, until requests say otherwise."""
LATE_SHARE = 0.1
"""Of the answers: fewer late scores are an accident, not pressure."""
NEW_WEIGHT = 0.1
"""How much the latest body counts in the bytes that a row takes."""


class Admission:
    """Counts rows in flight and refuses what is too much.

    Args:
        max_rows: The most rows in flight.
        target_s: Seconds that answers may take on average under pressure.

    Attributes:
        rows: In flight now.
        limit: How many may be, now.
    """

    def __init__(self, max_rows: int, target_s: float) -> None:
        self._max_rows = max_rows
        self._target_s = target_s
        self._row_bytes = FIRST_ROW_BYTES
        self._coming_bytes = 0
        """Of bodies that were let pass and have not arrived."""
        self._queued_bytes = 0
        """Of bodies that have arrived and are not counted in rows yet."""
        self._refused = False
        self._answers = self._late = 0
        self._ranked_rows = 0
        """In time, since the limit moved."""
        self._rows_per_s = 0.0
        self._calm_s = math.inf
        """Since the last sign of pressure."""
        self.rows = 0
        self.limit = max_rows

    @property
    def crowded(self) -> bool:
        """Whether a look at bodies before they are read is worth its time."""
        return (self.rows + self._queued_bytes / self._row_bytes) * 2 > self.limit

    def expect(self, body_bytes: int) -> bool:
        """Say whether a body of this length, not read yet, may come; `queue` follows, soon or never."""
        if not self.rows and not self._queued_bytes:
            return True
        coming = self._coming_bytes + body_bytes
        if self.rows + (self._queued_bytes + coming) / self._row_bytes > self.limit:
            self._refused = True
            return False
        if not self._coming_bytes:
            # Within two rounds of the loop it has arrived, or its caller is gone.
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._forget_coming)
        self._coming_bytes = coming
        return True

    def queue(self, body_bytes: int) -> None:
        """Count a body that has arrived and waits; `unqueue` must follow."""
        self._coming_bytes = max(self._coming_bytes - body_bytes, 0)
        self._queued_bytes += body_bytes

    def unqueue(self, body_bytes: int) -> None:
        """Count it as waiting no more; `enter` may follow."""
        self._queued_bytes -= body_bytes

    def enter(self, rows: int, body_bytes: int) -> None:
        """Let so many rows in; `leave` must follow. A request that is alone is let in unless it is beyond `max_rows`.

        Raises:
            Overloaded: too many rows are in flight.
        """
        if body_bytes:
            self._row_bytes += NEW_WEIGHT * (body_bytes / rows - self._row_bytes)
        limit = self.limit if self.rows else self._max_rows
        if self.rows + rows > limit:
            self._refused = True
            raise Overloaded(limit)
        self.rows += rows

    def leave(self, rows: int, *, late: bool) -> None:
        """Count rows that were let in as done.

        Args:
            rows: As they entered.
            late: Whether scores came too late.
        """
        self.rows -= rows
        self._answers += 1
        if late:
            self._late += 1
        else:
            self._ranked_rows += rows

    async def adjust(self) -> None:
        """Move the limit, for ever."""
        before = monotonic()
        while True:
            await asyncio.sleep(ADJUST_S)
            now = monotonic()
            self.adjust_once(now - before)
            before = now

    def adjust_once(self, elapsed_s: float) -> None:
        """Move the limit by what happened in the seconds since the last time."""
        change = self._ranked_rows / elapsed_s - self._rows_per_s
        self._rows_per_s += (RISING_WEIGHT if change > 0 else FALLING_WEIGHT) * change
        pressed = self._refused or self._late > LATE_SHARE * self._answers
        self._calm_s = 0.0 if pressed else self._calm_s + elapsed_s
        wanted = self._rows_per_s * self._target_s if self._calm_s < HOLD_S else self._max_rows
        wanted = min(max(wanted, self.limit / STEP), self.limit * STEP)
        self.limit = max(1, min(self._max_rows, math.ceil(wanted)))
        self._refused, self._answers, self._late, self._ranked_rows = False, 0, 0, 0

    def _forget_coming(self) -> None:
        self._coming_bytes = 0
