"""Scorer: runs a model on an event loop without holding it up; short calls at once, long ones in a thread."""

from __future__ import annotations

import asyncio
import math
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import thread_time
from typing import Any

import numpy as np

from ranker.scoring.row_threads import RowThreads
from ranker.vectors.rows import Matrix, Scores, SplitRows

INLINE_S = 0.002
"""A call expected to take longer goes to the thread. On a busy loop the way there and back may take as long as Python's
switch interval, 5 ms, so short calls stay."""
FIXED_ROWS = 64
"""About how many rows' time a call costs in any case; fewer rows than these tell nothing of the time a row takes."""
SHARED_S = 0.0005
"""A lone call expected to take less stays in one thread: two would need half of it each, and 0.2 ms for sharing it."""
NEW_WEIGHT = 0.2
"""Weight of the latest call in the expected seconds per row."""


class Scorer:
    """An async scorer over a blocking one, with at most one call in its thread at a time.

    Args:
        score: Matrix (n, F), or what a split model takes, to scores (n,); ONNX Runtime lets go of the GIL meanwhile.
        background: Nobody waits for the scores: every call goes to the thread, which gets what the others leave.
        alone: The same for a call that is alone, with more threads; None where that does not pay.
    """

    def __init__(
        self, score: Callable[[Any], Scores], *, background: bool = False, alone: RowThreads | None = None
    ) -> None:
        self._score = score
        self._alone = alone
        self._in_thread: asyncio.Future[Scores] | None = None
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="scorer", initializer=_lower_priority if background else None
        )
        self._row_s = 0.0
        self._background = background

    @property
    def inline_rows(self) -> float:
        """The most rows of a call that does not go to the thread."""
        rows = INLINE_S / self._row_s if self._row_s else math.inf
        return 0.0 if self._background or rows < FIXED_ROWS else rows

    def begin(self, matrix: Matrix | SplitRows) -> Scores | asyncio.Future[Scores]:
        """Score n rows, and return their scores, or where these will be; raise what the model raises."""
        if not self._background and max(len(matrix), FIXED_ROWS) * self._row_s <= INLINE_S:
            return self.at_once(matrix)
        self._in_thread = asyncio.get_running_loop().run_in_executor(self._thread, self.at_once, matrix)
        return self._in_thread

    def begin_alone(self, matrix: Matrix) -> Scores | asyncio.Future[Scores]:
        """Do as `begin` does for the only request that its caller has, with more threads where that pays.

        Another caller may have one: then one thread is for that, and one for this.
        """
        alone, one_s = self._alone, len(matrix) * self._row_s
        busy = self._in_thread is not None and not self._in_thread.done()
        if alone is None or busy or one_s < SHARED_S or not alone.has_turn():
            return self.begin(matrix)
        if one_s <= INLINE_S:
            return alone.score_within(matrix, one_s)
        self._in_thread = asyncio.get_running_loop().run_in_executor(self._thread, alone.score_within, matrix, one_s)
        return self._in_thread

    async def __call__(self, matrix: Matrix | SplitRows) -> Scores:
        """Score n rows and wait for it; raise what the model raises."""
        scores = self.begin(matrix)
        return scores if isinstance(scores, np.ndarray) else await scores

    def at_once(self, matrix: Matrix | SplitRows) -> Scores:
        """Score in this thread, and learn from the time it took on a core.

        By the clock, it would take long on a busy machine, and more so in the thread, which waits for the GIL when the
        model is done; so calls would stay there that are short.
        """
        started = thread_time()
        scores = self._score(matrix)
        row_s = (thread_time() - started) / max(len(matrix), FIXED_ROWS)
        self._row_s += NEW_WEIGHT * (row_s - self._row_s)
        return scores

    def close(self) -> None:
        """Let the threads end."""
        self._thread.shutdown(wait=False)
        if self._alone is not None:
            self._alone.close()


def _lower_priority() -> None:
    """Give this thread the least of what the scheduler shares out; on Linux, where threads have a priority each."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
