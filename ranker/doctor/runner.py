"""Runner check: scores go the way the settings have it, in process or through shared memory to a runner."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np

from ranker.errors import DependencyError, ModelError
from ranker.scoring.channel.client import ChannelClient
from ranker.scoring.channel.server import ChannelServer
from ranker.scoring.loaded import LoadedModel
from ranker.scoring.scorer import Scorer
from ranker.settings.environment import Settings
from ranker.upkeep.finding import Finding, fail, ok
from ranker.vectors.rows import Matrix, Scores

ROWS, CALLS = 100, 20
"""Rows of one call of the trial, and how many calls are timed."""


def check_runner(settings: Settings, model: LoadedModel) -> Finding:
    """Score default rows the way an API worker does, and compare with the model asked directly."""
    matrix = np.tile(model.schema.defaults, (min(ROWS, settings.max_batch_rows), 1))
    expected = model.score(matrix)
    try:
        if settings.runner == "local":
            way, (scores, times_ms) = "in each API worker", asyncio.run(_in_process(model, matrix))
        else:
            way, (scores, times_ms) = "through shared memory", asyncio.run(_through_channel(settings, model, matrix))
    except (DependencyError, ModelError, OSError) as err:
        remedy = "Give the service a directory for temporary files (TMPDIR) that takes sockets and shared memory."
        return fail("runner", f"no scores ({type(err).__name__})", remedy)
    if not np.array_equal(scores, expected, equal_nan=True):
        return fail("runner", f"other scores {way} than from the model", "Report this as a bug of Ranker.")
    p50 = float(np.median(times_ms))
    seen = f"{settings.runner}: scores {len(matrix)} rows {way}, p50 {p50:.2f} ms"
    return ok("runner", seen, runner=settings.runner, rows=len(matrix), p50_ms=p50)


async def _in_process(model: LoadedModel, matrix: Matrix) -> tuple[Scores, list[float]]:
    scorer = Scorer(model.score)
    try:
        return await _timed(scorer, matrix)
    finally:
        scorer.close()


async def _through_channel(settings: Settings, model: LoadedModel, matrix: Matrix) -> tuple[Scores, list[float]]:
    """Open a runner's end and an API worker's end, in one process here."""
    scorer = Scorer(model.score)
    server = ChannelServer(scorer.begin, model.width, settings.max_batch_rows)
    with tempfile.TemporaryDirectory(prefix="ranker-") as directory:
        path = Path(directory) / "doctor.rows"
        client = ChannelClient(path, model.width, settings.max_batch_rows, timeout_s=settings.deadline_ms / 1000)
        try:
            await server.open(path)
            return await _timed(client.score, matrix)
        finally:
            client.close()
            await server.close()
            scorer.close()


async def _timed(score: Callable[[Matrix], Awaitable[Scores]], matrix: Matrix) -> tuple[Scores, list[float]]:
    """Return the scores, and how long each of `CALLS` calls took, in milliseconds."""
    scores, times_ms = await score(matrix), []
    for _ in range(CALLS):
        began = time.perf_counter()
        await score(matrix)
        times_ms.append((time.perf_counter() - began) * 1000)
    return scores, times_ms
