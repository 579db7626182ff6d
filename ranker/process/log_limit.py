"""Rate limit for log lines: one of a kind is written, then the kind is only counted for an interval."""

from __future__ import annotations

from collections.abc import Hashable
from time import monotonic


class Seldom:
    """Rate limit for log lines: one of a kind is let through, then the kind is only counted for an interval.

    Args:
        interval_s: Seconds between two lines of one kind, at least.
    """

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._written_at: dict[Hashable, float] = {}

    def due(self, kind: Hashable = None) -> bool:
        """Say whether a line of this kind is to be written now; if so, the next one waits for the interval.

        Kinds are remembered for ever: give few of them, never an id.
        """
        now = monotonic()
        if now - self._written_at.get(kind, float("-inf")) < self.interval_s:
            return False
        self._written_at[kind] = now
        return True
