"""Slow-request log: a few lines each second, then how many more. Owns how much is written, and its words."""

from __future__ import annotations

import logging
import math

from ranker.ranking.answer import Answer
from ranker.ranking.timings import Timings
from ranker.telemetry.logs import make_extra

logger = logging.getLogger("ranker.slow")

LINES_PER_INTERVAL = 5
"""Most lines of an interval: when everything is slow, a line for each request would make it slower."""


class SlowRequests:
    """Logs answers that took long.

    Args:
        slow_ms: From how many milliseconds on; 0 for none.

    Attributes:
        slow_s: The same in seconds.
    """

    def __init__(self, slow_ms: float) -> None:
        self.slow_s = slow_ms / 1000 or math.inf
        self._noted = 0

    def note(self, timings: Timings, answer: Answer, request_id: str, trace_id: str | None) -> None:
        """Log one slow answer, unless too many were since the last `report`."""
        self._noted += 1
        if self._noted <= LINES_PER_INTERVAL:
            stages = {f"{stage}_ms": round(seconds * 1000, 3) for stage, seconds in timings._asdict().items()}
            reading, call = answer.features.reading, answer.call
            sizes = {
                "products": len(answer.features.products),
                "cache_hits": answer.features.held,
                "keys_read": reading.keys if reading else 0,
                "batch_requests": call.requests if call else None,
                "batch_rows": call.rows if call else None,
                "degraded_reason": answer.degraded_reason,
            }
            details = ", ".join(f"{name} {value}" for name, value in (stages | sizes).items() if value is not None)
            logger.warning(
                "Slow request %r: %s", request_id, details, extra=make_extra(request_id, trace_id, **stages, **sizes)
            )

    def report(self) -> None:
        """Begin the next interval; say how many of the last one were not logged."""
        if self._noted > LINES_PER_INTERVAL:
            logger.warning("%d more slow requests were only counted", self._noted - LINES_PER_INTERVAL)
        self._noted = 0
