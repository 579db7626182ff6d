"""Data parallelism over rows: one request's rows scored by several threads, where nobody else waits for a core.

Each thread scores a block of the rows with the one session that all share, so a score has the same bits however many
threads there are, and the model lies in memory once. ONNX Runtime's own threads add a row's trees up in another order.
Owns how rows are shared out, and whether that pays. Knows nothing of who asks, and when they are alone.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from time import perf_counter, thread_time
from typing import NamedTuple

import numpy as np

from ranker.scoring.other_cores import OtherCores
from ranker.vectors.rows import Matrix, Scores

LEAST_ROWS = 8
"""Rows of a block at least; with fewer, what a call of the graph costs in any case would be most of it."""
QUICKER = 0.9
"""Several threads are used where they are expected to take this part, at most, of the time that one needs. A call that
takes more has gained nothing: others have the cores."""
LONGEST_PAUSE = 63
"""The most calls in a row that one thread scores before several are tried again."""
SHARING_S = 0.0002
"""Seconds that a call shared by threads takes beyond the CPU time of its longest block, as measured: 0.15 ms until a
thread that sleeps has begun, and what it then reads that lies in another core's cache."""
TRIALS, TRIALS_S = 15, 0.5
"""Timings of a call and of a block, at most, and the seconds for all. The quickest of each counts."""


class RowThreads:
    """Scores a matrix with several threads. Safe to use from several threads, which then share them.

    Args:
        score: Scores a matrix (n, F), each row by itself, in any thread; it lets go of the GIL meanwhile.
        threads: How many score, the caller's included.

    Attributes:
        threads: As given.
        calls: How many matrices were shared out.
    """

    def __init__(self, score: Callable[[Matrix], Scores], threads: int) -> None:
        self._score = score
        self.threads = threads
        self.calls = 0
        self._cores = OtherCores()
        self._pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="rows", initializer=self._cores.add_helper)
        self._pause = 0
        self._left_of_pause = 0

    def has_turn(self) -> bool:
        """Whether the next call is to be shared out: not for a while after one that gained nothing.

        After each such call in a row, for about twice as many; others have the cores, and are disturbed ever less.
        """
        if self._left_of_pause:
            self._left_of_pause -= 1
            return False
        return True

    def score_within(self, matrix: Matrix, one_s: float) -> Scores:
        """Score a matrix as `score` does, and see whether that was quicker than the seconds that one thread needs."""
        began = perf_counter()
        scores = self.score(matrix)
        gained = perf_counter() - began <= QUICKER * one_s
        self._pause = 0 if gained else min(2 * self._pause + 1, LONGEST_PAUSE)
        self._left_of_pause = self._pause
        return scores

    def score(self, matrix: Matrix) -> Scores:
        """Score a matrix (n, F), and return shape (n,), float32; raise what the model raises for the whole of it."""
        n = len(matrix)
        blocks = min(self.threads, n // LEAST_ROWS)
        if blocks < 2:
            return self._score(matrix)
        self.calls += 1
        scores, turns = np.empty(n, dtype=np.float32), count()
        ends = [n * (i + 1) // blocks for i in range(blocks)]
        starts = [0, *ends]

        def work() -> None:
            """Take blocks until there are none: a thread that gets no core in time leaves its block to the others."""
            while (i := next(turns)) < blocks:
                scores[starts[i] : ends[i]] = self._score(matrix[starts[i] : ends[i]])

        self._cores.keep_off()
        helpers = [self._pool.submit(work) for _ in range(blocks - 1)]
        failed = False
        try:
            work()
        except Exception:  # whatever it is, the whole raises it again
            failed = True
        # All end before the caller goes on, for the memory of the matrix is then used again.
        failed |= any([not helper.cancel() and helper.exception() is not None for helper in helpers])
        return self._score(matrix) if failed else scores

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False)


class Gain(NamedTuple):
    """CPU time of a lone request's rows in one thread, and what several are expected to need.

    Attributes:
        rows: How many were scored.
        block_rows: Those of a thread's block.
        one_s: Seconds of the rows in one call.
        block_s: Seconds of a block.
    """

    rows: int
    block_rows: int
    one_s: float
    block_s: float

    @property
    def pays(self) -> bool:
        """Whether several threads would be quicker by enough."""
        return self.block_s + SHARING_S <= QUICKER * self.one_s


def measure_gain(score: Callable[[Matrix], Scores], threads: int, matrix: Matrix) -> Gain:
    """Score a matrix, and a block of those that so many threads would share it in, by turns; return the least times.

    CPU time in this thread alone: while a service starts, its other processes have the cores, and by the clock several
    threads would gain nothing then.
    """
    block = matrix[: -(-len(matrix) // threads)]
    least = [float("inf"), float("inf")]
    until = perf_counter() + TRIALS_S
    for _ in range(TRIALS):
        for i, rows in enumerate((matrix, block)):
            began = thread_time()
            score(rows)
            least[i] = min(least[i], thread_time() - began)
        if perf_counter() > until:
            break
    return Gain(len(matrix), len(block), *least)
