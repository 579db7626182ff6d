from __future__ import annotations

import asyncio

import pytest

from ranker.errors import CallerGone
from ranker.http.hang_ups import Callers
from tests.support.sample import run


class Request:
    """What a server has of a request."""

    def __init__(self) -> None:
        self.disconnected = False

    async def receive(self) -> dict[str, object]:
        return {"type": "http.request"}


async def work(callers: Callers, request: Request, stopped: list[str]) -> str:
    with callers.listening(request.receive):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            stopped.append("cancelled")
            raise
    return "answered"


def test_work_stops_at_once_when_its_caller_hangs_up_and_others_go_on() -> None:
    async def test() -> None:
        callers, stopped = Callers(), list[str]()
        gone, stays = Request(), Request()
        tasks = [asyncio.create_task(work(callers, request, stopped)) for request in (gone, stays)]
        await asyncio.sleep(0)
        callers.hung_up(gone)
        with pytest.raises(CallerGone):
            await tasks[0]
        assert stopped == ["cancelled"]
        assert not tasks[0].cancelling()
        assert not tasks[1].done()
        tasks[1].cancel()
        with pytest.raises(asyncio.CancelledError):  # cancelling for another reason stays what it is
            await tasks[1]

    run(test)


def test_nobody_works_for_a_caller_who_was_gone_before_the_work_began() -> None:
    request = Request()
    request.disconnected = True

    async def test() -> None:
        with pytest.raises(CallerGone):
            await work(Callers(), request, [])

    run(test)


def test_caller_who_hangs_up_after_the_answer_disturbs_nobody() -> None:
    async def test() -> None:
        callers, request = Callers(), Request()
        with callers.listening(request.receive):
            await asyncio.sleep(0)
        callers.hung_up(request)
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()

    run(test)
