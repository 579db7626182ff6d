"""A worker over a real Redis: which answers say that it has too much to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from redis import Redis

from ranker.errors import DeadlineExceeded, RunnerUnavailable
from ranker.scheduling.admission import ADJUST_S
from ranker.vectors.rows import Matrix, Scores
from tests.support.sample import run
from tests.unit.serving.test_shadow import REQUEST, filled, last_column, working

__all__ = ["filled"]

DEADLINE_MS = 200


async def slow(matrix: Matrix) -> Scores:
    await asyncio.sleep(10)
    return await last_column(matrix)


async def gone(matrix: Matrix) -> Scores:
    raise RunnerUnavailable("gone")


@pytest.mark.parametrize("on_failure", ["degrade", "error"])
@pytest.mark.parametrize(
    ("runner", "caller_s", "pressed"),
    [
        (slow, None, True),
        (slow, 0.02, False),  # its caller waits for less than answers may take under pressure
        (gone, None, False),
    ],
)
def test_scores_that_the_machine_gives_too_late_are_pressure(
    filled: Redis,
    redis_url: str,
    on_failure: str,
    runner: Callable[[Matrix], Scores],
    caller_s: float | None,
    pressed: bool,
) -> None:
    async def test() -> None:
        current = last_column
        settings = {"canary_percent": 100, "on_failure": on_failure, "deadline_ms": DEADLINE_MS}
        async with working(redis_url, lambda matrix: current(matrix), **settings) as worker:
            current = runner  # type: ignore[assignment]  # both take a matrix
            most = worker.admission.limit
            asked = (worker.rank(REQUEST, deadline_s=caller_s) for _ in range(3))
            for answer in await asyncio.gather(*asked, return_exceptions=True):
                raises = isinstance(answer, DeadlineExceeded | RunnerUnavailable)
                assert raises == (on_failure == "error"), answer
            worker.admission.adjust_once(ADJUST_S)
            assert (worker.admission.limit < most) == pressed

    run(test)
