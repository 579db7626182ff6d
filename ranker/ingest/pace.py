"""Rate limit for bulk work: spreads rows over time."""

from __future__ import annotations

import time


class Pace:
    """Lets at most so many rows pass in a second, evenly.

    Args:
        max_rate: Rows per second; None for no bound.
    """

    def __init__(self, max_rate: float | None) -> None:
        self._max_rate = max_rate
        self._due = time.monotonic()

    def batch_rows(self, at_most: int) -> int:
        """Return how many rows to handle at a time, so that ten batches make a second at least."""
        return at_most if self._max_rate is None else max(1, min(at_most, int(self._max_rate / 10)))

    def wait(self, rows: int) -> None:
        """Wait until so many rows may have passed."""
        if self._max_rate is None:
            return
        # Time lost elsewhere is not made up for by a burst.
        now = time.monotonic()
        self._due = max(self._due, now - 1.0) + rows / self._max_rate
        if self._due > now:
            time.sleep(self._due - now)
