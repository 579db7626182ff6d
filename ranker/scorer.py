"""Run a model on an event loop without holding it up: short calls at once, long ones in a thread. Pure scheduling."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from ranker.encoding import Matrix, Scores

INLINE_S = 0.002
"""A call expected to take longer goes to the thread. The way there and back costs some 0.1 ms, so short calls stay."""
NEW_WEIGHT = 0.2
"""How much the latest call counts in the expected seconds per row."""


class Scorer:
    """An async scorer over a blocking one, with at most one call at a time.

    Args:
        score: Matrix (n, F) to scores (n,); ONNX Runtime lets go of the GIL meanwhile.
    """

    def __init__(self, score: Callable[[Matrix], Scores]) -> None:
        self._score = score
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scorer")
        self._row_s = INLINE_S  # unknown: the first call goes to the thread unless it is of one row

    async def __call__(self, matrix: Matrix) -> Scores:
        """Score n rows; raise what the model raises."""
        inline = len(matrix) * self._row_s <= INLINE_S
        started = perf_counter()
        if inline:
            scores = self._score(matrix)
        else:
            scores = await asyncio.get_running_loop().run_in_executor(self._thread, self._score, matrix)
        if len(matrix):
            row_s = (perf_counter() - started) / len(matrix)
            self._row_s += NEW_WEIGHT * (row_s - self._row_s)
        return scores

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False)
