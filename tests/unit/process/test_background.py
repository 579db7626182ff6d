"""A background task that fails is begun again, and seen."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from ranker.process import background
from ranker.process.log_limit import Seldom
from tests.support.sample import eventually, run


class Work:
    """Fails so many times, and then goes on."""

    def __init__(self, failures: float) -> None:
        self.begun = 0
        self._failures = failures

    async def __call__(self) -> None:
        self.begun += 1
        if self.begun <= self._failures:
            raise ZeroDivisionError(f"time {self.begun}")
        await asyncio.get_running_loop().create_future()


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_reports", Seldom(60))
    monkeypatch.setattr(background, "FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(background, "LONGEST_RETRY_S", 0.002)
    background.unforeseen.clear()


def test_failed_work_is_counted_logged_once_and_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    work = Work(3)

    async def test() -> None:
        task = background.keep("work", work)
        await eventually(lambda: work.begun == 4)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with caplog.at_level(logging.ERROR):
        run(test)
    assert background.unforeseen == {"work": 3}
    (record,) = caplog.records
    assert "work failed" in record.getMessage()
    assert "time 1" in record.getMessage()
    assert record.exc_info is not None


def test_work_that_fails_at_once_again_and_again_is_stuck_until_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "STEADY_S", 0.05)
    works = {"needed": Work(1000), "short": Work(2), "other": Work(float("inf"))}

    async def test() -> None:
        tasks = [background.keep(name, work, needed=name != "other") for name, work in works.items()]
        await eventually(lambda: background.stuck() == ["needed"])
        works["needed"]._failures = 0
        await eventually(lambda: not background.stuck())
        assert works["other"].begun > background.STUCK_AFTER
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(test)
    assert not background._kept


def test_work_that_is_done_is_not_begun_again() -> None:
    begun = []

    async def work() -> None:
        begun.append(1)

    async def test() -> None:
        await background.keep("work", work)

    run(test)
    assert begun == [1]
    assert background.unforeseen == {"work": 0}


def test_pauses_grow_up_to_a_bound_and_no_number_of_failures_ends_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "FIRST_RETRY_S", 1e-7)
    monkeypatch.setattr(background, "LONGEST_RETRY_S", 1e-6)
    work = Work(2000)

    async def test() -> None:
        task = background.keep("work", work)
        await eventually(lambda: work.begun == 2001, 15)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(test)


def test_what_is_done_once_is_seen_too(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        task = background.once("work", Work(1)())
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)

    run(test)
    assert background.unforeseen == {"work": 1}
    assert "work failed" in caplog.text


def test_tasks_are_held_while_they_run_and_what_one_raises_is_counted() -> None:
    async def test() -> None:
        tasks = background.Tasks("flight")
        gate = asyncio.Event()

        async def land(at: str) -> str:
            await gate.wait()
            if at == "sea":
                raise ZeroDivisionError(at)
            return at

        landed = tasks.begin(land("home"))
        tasks.begin(land("sea"))
        gc.collect()
        gate.set()
        await tasks.wait()
        assert landed.result() == "home"
        await eventually(lambda: not tasks._running)

    run(test)
    assert background.unforeseen == {"flight": 1}


def test_cancelled_tasks_are_over_when_cancel_returns_and_count_as_nothing() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            ended.append("work")

    async def test() -> None:
        tasks = background.Tasks("flight")
        for _ in range(3):
            tasks.begin(work())
        await asyncio.sleep(0)
        await tasks.cancel()
        assert ended == ["work"] * 3
        await tasks.cancel()  # of none

    run(test)
    assert background.unforeseen["flight"] == 0
