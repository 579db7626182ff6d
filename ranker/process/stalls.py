"""Event-loop lag and garbage-collection pauses: measures how long the loop is held up, and how much of it is GC.

Owns the two clocks; knows nothing of what runs on the loop or where the figures go.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from time import perf_counter
from typing import Any

INTERVAL_S = 0.01
"""Between two looks at the clock, in seconds: a stall is seen as long as it is, less this at most. A hundred looks a
second take about 0.2 % of a core."""


async def watch_loop(on_lag: Callable[[float], None]) -> None:
    """Tell, for ever, how many seconds after its time a timer of `INTERVAL_S` fired."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + INTERVAL_S
        await asyncio.sleep(INTERVAL_S)
        on_lag(max(loop.time() - due, 0.0))


class CollectorWatch:
    """Tells how many seconds each collection of the garbage collector took; nothing runs meanwhile.

    Args:
        on_pause: Given the generation, 0 to 2, and the seconds.
    """

    def __init__(self, on_pause: Callable[[int, float], None]) -> None:
        self._on_pause = on_pause
        self._began = 0.0

    def start(self) -> None:
        """Begin to watch."""
        gc.callbacks.append(self._collects)

    def stop(self) -> None:
        """Watch no more."""
        gc.callbacks.remove(self._collects)

    def _collects(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._began = perf_counter()
        else:
            self._on_pause(int(info["generation"]), perf_counter() - self._began)
