"""A worker over a real Redis: how requests begin and end, and which answers say that it has too much to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from ranker.errors import DeadlineExceeded, InvalidRequest, Overloaded, RunnerUnavailable
from ranker.ranking.answer import Answer
from ranker.scheduling.admission import ADJUST_S
from ranker.vectors.rows import Matrix, Scores
from tests.support.sample import eventually, run
from tests.unit.serving.test_shadow import REQUEST, filled, last_column, working

__all__ = ["filled"]

DEADLINE_MS = 1000


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


def test_requests_whose_rows_are_held_begin_without_task_future_or_timer(
    filled: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_once(matrix: Matrix) -> Scores:
        return matrix[:, -1].copy()

    async def test() -> None:
        async with working(redis_url, at_once, canary_percent=100, cache_user_ttl_s=60) as worker:
            expected = await worker.rank(REQUEST)  # from now on its rows are held
            outcomes: list[Answer | BaseException] = []
            made: list[str] = []
            loop = asyncio.get_running_loop()
            with monkeypatch.context() as patched:
                for name in ("create_task", "create_future", "call_at", "call_later"):
                    patched.setattr(loop, name, lambda *_, name=name, **__: made.append(name))
                for _ in range(3):
                    worker.begin(REQUEST, outcomes.append)
                assert (outcomes, worker.admission.rows) == ([], 3 * len(REQUEST.productIds))
                loop.call_soon(patched.undo)  # behind the round
                await asyncio.sleep(0)
            await eventually(lambda: len(outcomes) == 3)
            for answer in outcomes:
                assert isinstance(answer, Answer)
                assert (answer.ranking, answer.model) == (expected.ranking, "b:2")
                assert answer.call == (3, 3 * len(REQUEST.productIds))
            assert (made, worker.admission.rows) == ([], 0)

    run(test)


def test_abandoned_request_is_told_nothing_and_leaves_room(filled: Redis, redis_url: str) -> None:
    async def test() -> None:
        async with working(redis_url) as worker:
            outcomes: list[Any] = []
            gone, stays = worker.begin(REQUEST, outcomes.append), worker.begin(REQUEST, outcomes.append)
            worker.abandon(gone)
            worker.abandon(gone)
            assert worker.admission.rows == len(REQUEST.productIds)
            await eventually(lambda: len(outcomes) == 1)
            worker.abandon(stays)  # too late: it was told
            assert worker.admission.rows == 0
            assert isinstance(outcomes[0], Answer)

    run(test)


def test_request_that_cannot_begin_raises_and_is_told_nothing(filled: Redis, redis_url: str) -> None:
    async def test() -> None:
        async with working(redis_url, max_in_flight_rows=20) as worker:
            outcomes: list[Any] = []
            with pytest.raises(InvalidRequest):
                worker.begin(REQUEST.model_copy(update={"context": {"no such": 1}}), outcomes.append)
            assert worker.admission.rows == 0
            worker.begin(REQUEST, outcomes.append)
            with pytest.raises(Overloaded):
                worker.begin(REQUEST, outcomes.append)
            await eventually(lambda: len(outcomes) == 1)
            assert (isinstance(outcomes[0], Answer), worker.admission.rows) == (True, 0)

    run(test)


def test_worker_that_stops_tells_whoever_waits(filled: Redis, redis_url: str) -> None:
    async def test() -> None:
        current = last_column
        async with working(redis_url, lambda matrix: current(matrix), canary_percent=100) as worker:
            current = slow
            outcomes: list[Any] = []
            worker.begin(REQUEST, outcomes.append)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError]
        assert worker.admission.rows == 0

    run(test)
