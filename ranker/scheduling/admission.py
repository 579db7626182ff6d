"""Admission control: limits the rows in flight, so that what is let in is answered in time.

The most rows in flight are set. Below that the limit moves while there is pressure, that is, while requests are
refused or scores come late, and for a moment longer: it is what this worker can rank in the time that answers may take
(Little's law: in flight = throughput x latency), so a slow model or a busy machine lets in less, and what is let in is
answered in time. Without pressure nothing is held back, however long the queue: 500 callers who each wait for their
answer are no overload.

What can be ranked is not what is asked for. Rows are counted by the time in which any were in flight, not by the clock:
what a server does at its most is completions by busy time (the utilisation law; Denning & Buzen, "The Operational
Analysis of Queueing Network Models", Computing Surveys 1978). And a time in which the worker could have done more, for
nobody was refused and nothing was late, can only raise the estimate (Cardwell et al., "BBR: Congestion-Based Congestion
Control", ACM Queue 2016, have the same rule for senders that had nothing to send). So a quiet worker keeps its limit.
In an overload that lasts all time is busy, for refusing takes some, and so does waiting for a core; what was known of
calmer times is forgotten then.

Only what is late by this machine's fault is pressure: a caller who allows less than answers may take under pressure
says nothing about it.

What is refused must cost next to nothing, so a request is refused by the length of its body, before that is read, where
the rows that bodies of this length tend to have do not fit. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from time import monotonic, process_time

from ranker.errors import Overloaded

ADJUST_S = 0.1
STEP = 1.3
"""Factor by which the limit changes at most, each `ADJUST_S`."""
LASTING_LOOKS = 3
"""Looks with signs of pressure that make an overload of a burst, if the worker was busy meanwhile."""
BUSY_SHARE = 0.25
"""Share of the time, at least, in flight or on a core, in an overload; where cores are short it gets no more."""
HOLD_S = 1.0
"""Seconds that pressure lasts after its last sign: between two signs the queue may be about to fill again."""
MEMORY_S = 1.0
"""Busy time that the estimate of what can be ranked is taken over."""
FIRST_ROW_BYTES = 16.0
"""Length that a row of a request is taken to have, until requests say otherwise."""
LATE_SHARE = 0.1
"""Share of the answers from which late scores are pressure; fewer are an accident."""
NEW_WEIGHT = 0.1
"""Weight of the latest body in the bytes that a row takes."""


class Admission:
    """Admission control of one worker: counts rows in flight, and refuses what is too much.

    Args:
        max_rows: The most rows in flight.
        target_s: Seconds that answers may take on average under pressure.
        clock: Seconds that only rise.

    Attributes:
        rows: In flight now.
        limit: How many may be, now.
    """

    def __init__(self, max_rows: int, target_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._max_rows = max_rows
        self._target_s = target_s
        self._clock = clock
        self._row_bytes = FIRST_ROW_BYTES
        self._coming_bytes = 0
        """Of bodies that were let pass and have not arrived."""
        self._queued_bytes = 0
        """Of bodies that have arrived and are not counted in rows yet."""
        self._refused = False
        self._answers = self._late = 0
        self._ranked_rows = 0
        """In time, since the last look."""
        self._busy_since = self._busy_s = 0.0
        """When rows began to be in flight, and for how many seconds they were before that, since the last look."""
        self._rows_per_s = 0.0
        """What can be ranked, as far as is known,"""
        self._known_s = 0.0
        """from so much busy time, `MEMORY_S` at most."""
        self._pressed_looks = 0
        """With signs of pressure, one after another until now."""
        self._overloaded = False
        self._cpu_s = process_time()
        """This process', at the last look."""
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
        if not self.crowded:
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
            self._refused = self._refused or self.rows > 0
            raise Overloaded(limit, rows if rows > self._max_rows else None)
        if not self.rows:
            self._busy_since = self._clock()
        self.rows += rows

    def leave(self, rows: int, *, ranked: bool = False, late_after_s: float = 0.0) -> None:
        """Count rows that were let in as done; those of which neither is said tell nothing about this worker.

        Args:
            rows: As they entered.
            ranked: Whether they were scored in time.
            late_after_s: Seconds after which scores were given up as late, where they were.
        """
        self.rows -= rows
        if not self.rows:
            self._busy_s += self._clock() - self._busy_since
        if ranked:
            self._answers += 1
            self._ranked_rows += rows
        elif late_after_s >= self._target_s:
            self._answers += 1
            self._late += 1

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
        pressed = self._refused or self._late > LATE_SHARE * self._answers
        self._refused, self._answers, self._late = False, 0, 0
        self._pressed_looks = self._pressed_looks + 1 if pressed else 0
        self._learn(pressed, elapsed_s)
        self._calm_s = 0.0 if pressed else self._calm_s + elapsed_s
        held = self._calm_s < HOLD_S and self._known_s
        wanted = self._rows_per_s * self._target_s if held else self._max_rows
        wanted = min(max(wanted, self.limit / STEP), self.limit * STEP)
        self.limit = max(1, min(self._max_rows, math.ceil(wanted)))

    def _learn(self, pressed: bool, elapsed_s: float) -> None:
        """Look at what was ranked, and in how much busy time; keep it where it tells what can be ranked."""
        if self.rows:
            now = self._clock()
            self._busy_s += now - self._busy_since
            self._busy_since = now
            if not pressed and self._busy_s < MEMORY_S:
                return  # what is in flight took time already, and is not ranked yet
        rows, busy_s = self._ranked_rows, self._busy_s
        self._ranked_rows, self._busy_s = 0, 0.0
        cpu_s = process_time()
        working_s, self._cpu_s = cpu_s - self._cpu_s, cpu_s
        if self._pressed_looks >= LASTING_LOOKS and max(busy_s, working_s) > BUSY_SHARE * elapsed_s:
            busy_s = elapsed_s
            if not self._overloaded:
                self._known_s = 0.0
            self._overloaded = True
        elif not pressed:
            self._overloaded = False
        if not busy_s or not (rows or pressed):
            return
        # A loop that was held up looks late; under pressure that counts as one look, however long it took.
        weight = min(busy_s, ADJUST_S if pressed else MEMORY_S)
        self._known_s = min(self._known_s + weight, MEMORY_S)
        change = rows / busy_s - self._rows_per_s
        if pressed or change > 0:
            self._rows_per_s += weight / self._known_s * change

    def _forget_coming(self) -> None:
        self._coming_bytes = 0
