"""Gain of a split: the CPU time of a request with the whole graph and in parts, on one thread, by turns.

Owns how it is measured: alone, and as one of a round, where what a call costs in any case is shared by several. CPU
time of the thread, for a busy machine changes what the clock shows; medians of turns, for what disturbs one disturbs
its neighbour as well.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter, thread_time

import numpy as np

from ranker.importing.splitting.proving.request import Request, Round
from ranker.scoring.graph import proof
from ranker.scoring.split.model import SplitModel
from ranker.scoring.split.note import Gain
from ranker.vectors.rows import Matrix

PRODUCTS = 100
REQUESTS = 8
"""Requests of a round: as many as wait for the model at 64 in flight, about."""
TURNS, LEAST_TURNS = 21, 5
TURN_S = 0.002
"""CPU seconds that a turn of each takes at least, in whole calls."""
BUDGET_S = 2.0
"""Seconds after which no turn begins, once there are enough."""


def measure_gain(score: proof.Score, split: SplitModel, rows: Matrix) -> Gain:
    """Measure requests for the products of these rows, prepared, and how long they take to prepare.

    Args:
        score: The whole graph, which may use one thread.
        split: Its parts, which may use one thread.
        rows: Shape (n, F).

    Raises:
        ModelError: they cannot be scored.
    """
    request = Request(split.schema, rows)
    alone, several = Round(split, [request]), Round(split, [request] * REQUESTS)
    matrices = np.tile(request.matrix, (REQUESTS, 1))
    calls: list[Callable[[], object]] = [
        lambda: score(request.matrix),
        alone.score,
        lambda: score(matrices),
        several.score,
        lambda: split.prepare(request.products),
    ]
    counts = [_calls_of_a_turn(call) for call in calls]
    times: list[list[float]] = [[] for _ in calls]
    end = perf_counter() + BUDGET_S
    while len(times[0]) < TURNS and (len(times[0]) < LEAST_TURNS or perf_counter() < end):
        for call, count, found in zip(calls, counts, times, strict=True):
            found.append(_time_us(call, count))
    whole, split_us, round_whole, round_split, prepare = map(median, times)
    return Gain(
        products=len(rows),
        whole_us=whole,
        split_us=split_us,
        round_whole_us=round_whole / REQUESTS,
        round_split_us=round_split / REQUESTS,
        prepare_us=prepare / len(rows),
        product_bytes=split.prepared_width * np.dtype(np.float32).itemsize,
    )


def _calls_of_a_turn(call: Callable[[], object]) -> int:
    call()  # the first takes longer
    once_s = min(_time_us(call, 1) for _ in range(3)) / 1e6
    return max(1, round(TURN_S / max(once_s, 1e-6)))


def _time_us(call: Callable[[], object], count: int) -> float:
    started = thread_time()
    for _ in range(count):
        call()
    return (thread_time() - started) * 1e6 / count
