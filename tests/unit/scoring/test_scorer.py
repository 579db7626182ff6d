import asyncio
import math
import os
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from ranker.scoring.row_threads import RowThreads
from ranker.scoring.scorer import FIXED_ROWS, INLINE_S, SHARED_S, Scorer
from ranker.vectors.rows import Matrix, Scores


def work(seconds: float) -> None:
    """Take so much time of a core."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_long_calls_leave_the_loop_free_and_short_ones_stay_on_it() -> None:
    on_loop: list[bool] = []
    row_s = 0.0
    released = threading.Event()
    released.set()

    def score(matrix: Matrix) -> Scores:
        on_loop.append(threading.current_thread() is threading.main_thread())
        work(row_s * len(matrix))
        assert released.wait(10)
        return matrix[:, 0] * 2

    async def run(rows: int) -> None:
        assert (await scorer(np.ones((rows, 1), np.float32))).tolist() == [2] * rows

    async def test() -> None:
        nonlocal row_s
        for rows in (1, 1000, 1, 100, 1):
            await run(rows)
        assert all(on_loop)
        row_s = 2 * INLINE_S / FIXED_ROWS  # a call of so many rows is now too long for the loop
        for _ in range(10):
            await run(FIXED_ROWS)
        assert on_loop[-1] is False
        released.clear()
        task = asyncio.create_task(run(4 * FIXED_ROWS))
        for _ in range(4):
            await asyncio.sleep(0.001)
        assert not task.done()
        released.set()
        await task
        row_s = 0.0
        while not on_loop[-1]:  # goes back when the model is quick again; the test's time limit bounds this
            await run(FIXED_ROWS)

    scorer = Scorer(score)
    asyncio.run(test())
    scorer.close()


def test_scores_of_a_short_call_are_there_at_once_and_those_of_a_long_one_when_they_are() -> None:
    row_s = 0.0

    def score(matrix: Matrix) -> Scores:
        work(row_s * len(matrix))
        return matrix[:, 0] * 2

    async def test() -> None:
        nonlocal row_s
        matrix = np.ones((FIXED_ROWS, 1), np.float32)
        scores = scorer.begin(matrix)
        assert isinstance(scores, np.ndarray)
        row_s = 20 * INLINE_S / FIXED_ROWS
        assert isinstance(scorer.begin(matrix), np.ndarray)  # the first that is long is not expected to be
        later = scorer.begin(matrix)
        assert isinstance(later, asyncio.Future)
        assert (await later).tolist() == scores.tolist()

    scorer = Scorer(score)
    asyncio.run(test())
    scorer.close()


def test_calls_that_others_hold_up_stay_on_the_loop() -> None:
    def score(matrix: Matrix) -> Scores:
        time.sleep(3 * INLINE_S)  # another process has the core
        return matrix[:, 0]

    async def test() -> None:
        for _ in range(5):
            assert isinstance(scorer.begin(np.ones((FIXED_ROWS, 1), np.float32)), np.ndarray)

    scorer = Scorer(score)
    asyncio.run(test())
    scorer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority each")
@pytest.mark.parametrize("background", [False, True])
def test_what_nobody_waits_for_is_scored_in_a_thread_that_gets_what_the_others_leave(background: bool) -> None:
    nice: list[int] = []
    in_main: list[bool] = []

    def score(matrix: Matrix) -> Scores:
        nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        in_main.append(threading.current_thread() is threading.main_thread())
        work(0.0 if background else 20 * INLINE_S)
        return matrix[:, 0]

    async def test() -> None:
        for _ in range(2):
            await scorer(np.ones((1, 1), np.float32))

    scorer = Scorer(score, background=background)
    assert scorer.inline_rows == (0 if background else math.inf)
    asyncio.run(test())
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    assert (in_main, nice) == (([False, False], [19, 19]) if background else ([True, False], [usual, usual]))
    assert scorer.inline_rows == 0  # even few rows take too long
    scorer.close()


def test_as_many_rows_stay_on_the_loop_as_are_expected_to_be_short() -> None:
    def score(matrix: Matrix) -> Scores:
        work(INLINE_S)
        return matrix[:, 0]

    scorer = Scorer(score)
    scorer.at_once(np.ones((FIXED_ROWS, 1), np.float32))
    assert FIXED_ROWS < scorer.inline_rows <= 5 * FIXED_ROWS  # a fifth of the first call counts
    scorer.close()


def test_only_a_lone_call_that_takes_a_while_is_shared_by_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    row_s, has_turn, gate = 0.0, True, threading.Event()
    gate.set()

    def score(matrix: Matrix) -> Scores:
        work(row_s * len(matrix))
        assert gate.wait(10)
        return matrix[:, 0]

    async def test() -> None:
        nonlocal row_s, has_turn
        matrix = np.ones((FIXED_ROWS, 1), np.float32)

        async def shared(begin: Callable[[Matrix], Scores | asyncio.Future[Scores]]) -> int:
            before, scores = alone.calls, begin(matrix)
            assert len(scores if isinstance(scores, np.ndarray) else await scores) == FIXED_ROWS
            return alone.calls - before

        assert await shared(scorer.begin) == 0
        assert await shared(scorer.begin_alone) == 0  # it takes no time
        row_s = (SHARED_S + INLINE_S) / 2 / FIXED_ROWS
        for _ in range(30):
            assert await shared(scorer.begin) == 0
        assert await shared(scorer.begin_alone) == 1
        row_s = 2 * INLINE_S / FIXED_ROWS
        for _ in range(30):
            assert await shared(scorer.begin) == 0
        before, later = alone.calls, scorer.begin_alone(matrix)
        assert isinstance(later, asyncio.Future)  # the loop is held up no longer than by others
        await later
        assert alone.calls == before + 1
        has_turn = False
        assert await shared(scorer.begin_alone) == 0
        has_turn = True
        gate.clear()
        other = scorer.begin(matrix)  # of another caller
        assert isinstance(other, asyncio.Future)
        before, mine = alone.calls, scorer.begin_alone(matrix)
        gate.set()
        await asyncio.gather(other, mine)
        assert alone.calls == before

    alone = RowThreads(lambda matrix: matrix[:, 0], 2)
    monkeypatch.setattr(alone, "has_turn", lambda: has_turn)  # however busy the machine is that tests
    scorer = Scorer(score, alone=alone)
    asyncio.run(test())
    scorer.close()


def test_calls_in_the_thread_have_their_turn_one_by_one() -> None:
    inside: list[str] = []
    most = 0

    def score(matrix: Matrix) -> Scores:
        nonlocal most
        inside.append(threading.current_thread().name)
        most = max(most, len(inside))
        time.sleep(0.002)  # lets another thread in, if there is one
        assert inside.pop().startswith("scorer")
        return matrix[:, 0]

    async def test() -> None:
        await asyncio.gather(*(scorer(np.ones((1, 1), np.float32)) for _ in range(4)))

    scorer = Scorer(score, background=True)
    asyncio.run(test())
    scorer.close()
    assert most == 1


def test_closing_waits_for_no_call() -> None:
    begun, released = threading.Event(), threading.Event()

    def score(matrix: Matrix) -> Scores:
        begun.set()
        assert released.wait(10)
        return matrix[:, 0]

    async def test() -> None:
        later = scorer.begin(np.ones((1, 1), np.float32))
        assert isinstance(later, asyncio.Future)
        assert begun.wait(10)
        scorer.close()
        assert not later.done()
        released.set()
        assert (await later).tolist() == [1]

    scorer = Scorer(score, background=True)
    asyncio.run(test())
