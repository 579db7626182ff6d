from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import pytest

from ranker import callers
from ranker.callers import Callers
from ranker.errors import CallerGone
from tests.strategies import eventually, run


class Caller:
    """One who sent a request, and may hang up."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.listened = 0

    async def receive(self) -> dict[str, object]:
        self.listened += 1
        await self.gone.wait()
        return {"type": "http.disconnect"}


@asynccontextmanager
async def swept() -> AsyncIterator[Callers]:
    watch = Callers()
    sweep = asyncio.create_task(watch.sweep())
    try:
        yield watch
    finally:
        sweep.cancel()


def test_work_stops_when_its_caller_hangs_up() -> None:
    async def test() -> None:
        caller, worked = Caller(), asyncio.Event()

        async def work(watch: Callers) -> None:
            with watch.listening(caller.receive):
                try:
                    await asyncio.sleep(3600)
                finally:
                    worked.set()

        async with swept() as watch:
            task = asyncio.create_task(work(watch))
            await eventually(lambda: caller.listened > 0)
            caller.gone.set()
            hung_up = monotonic()
            with pytest.raises(CallerGone):
                await task
            assert monotonic() - hung_up < 10
            assert worked.is_set()
            assert not task.cancelling()

    run(test)


def test_quick_requests_are_not_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "SWEEP_S", 0.001)

    async def test() -> None:
        caller = Caller()
        async with swept() as watch:
            with watch.listening(caller.receive):
                await asyncio.sleep(0.02)
            await asyncio.sleep(callers.AFTER_S + 0.1)
        assert not caller.listened

    run(test)


def test_caller_who_hangs_up_after_the_answer_disturbs_nobody() -> None:
    async def test() -> None:
        caller = Caller()
        async with swept() as watch:
            with watch.listening(caller.receive):
                await eventually(lambda: caller.listened > 0)
            caller.gone.set()
            await asyncio.sleep(0.01)

    run(test)


def test_cancelling_for_another_reason_stays_what_it_is() -> None:
    async def test() -> None:
        caller = Caller()

        async def work(watch: Callers) -> None:
            with watch.listening(caller.receive):
                await asyncio.sleep(3600)

        async with swept() as watch:
            task = asyncio.create_task(work(watch))
            await eventually(lambda: caller.listened > 0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(test)
