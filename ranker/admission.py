"""Who is let in: as many rows as can be ranked in good time.

The most rows in flight are set. Below that the limit moves while there is pressure, that is, while requests are refused
or scores come late: it follows the time that answers take (the gradient of Netflix's concurrency limits, with a target
in place of the lowest latency seen), so a slow model or a busy machine lets in less, and what is let in is answered in
time. Without pressure nothing is held back, however long the queue: 500 callers who each wait for their answer are no
overload. What is refused must cost next to nothing, so a request is refused by the length of its body, before that is
read, where the rows that bodies of this length tend to have do not fit. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import math

from ranker.errors import Overloaded

ADJUST_S = 0.1
STEP = 1.3
"""The limit changes by this factor at most, each `ADJUST_S`."""
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
        target_s: Seconds that answers may take on average while requests are refused.

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
        self._answers_s = 0.0
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

    def leave(self, rows: int, seconds: float, *, late: bool) -> None:
        """Count rows that were let in as done.

        Args:
            rows: As they entered.
            seconds: How long that took.
            late: Whether scores came too late.
        """
        self.rows -= rows
        self._answers += 1
        self._answers_s += seconds
        self._late += late

    async def adjust(self) -> None:
        """Move the limit, for ever."""
        while True:
            await asyncio.sleep(ADJUST_S)
            self.adjust_once()

    def adjust_once(self) -> None:
        """Move the limit by what happened since the last time."""
        factor = STEP
        if self._answers and (self._refused or self._late > LATE_SHARE * self._answers):
            factor = min(STEP, max(1 / STEP, self._target_s * self._answers / self._answers_s))
        self.limit = max(1, min(self._max_rows, math.ceil(self.limit * factor)))
        self._refused, self._answers, self._late, self._answers_s = False, 0, 0, 0.0

    def _forget_coming(self) -> None:
        self._coming_bytes = 0
