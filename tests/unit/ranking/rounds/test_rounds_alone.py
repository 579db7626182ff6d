"""Rounds by themselves: when one begins, and that each leaves the event loop to others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import numpy as np
import pytest

from ranker.errors import ModelFailed
from ranker.ranking.rounds.entry import MOST_ENTRIES, Entry
from ranker.ranking.rounds.expiry import Expiry
from ranker.ranking.rounds.rounds import Rounds
from ranker.vectors.rows import Matrix, Scores
from tests.support.sample import eventually, run


class Gone:
    """What became of entries."""

    def __init__(self) -> None:
        self.scored_rows: list[int] = []
        self.errors: list[BaseException] = []

    def scored(self, entries: Sequence[Entry]) -> None:
        self.scored_rows += [entry.rows for entry in entries]

    def failed(self, entry: Entry, err: BaseException) -> None:
        entry.over = True
        self.errors.append(err)


def entry(rows: int, deadline: float = inf, first: float = 0) -> Entry:
    """Return rows of one column, which count from `first`."""
    made = Entry(rows, deadline, lambda _outcome: None)
    made.place(np.arange(first, first + rows, dtype=np.float32)[:, np.newaxis], 0)
    return made


def rounds(gone: Gone, calls: list[int], max_rows: int = 4, share: int | None = None) -> Rounds:
    """Rounds of a model that answers at once, each call's rows noted."""

    def score(matrix: Matrix) -> Scores:
        calls.append(len(matrix))
        return matrix[:, 0]

    return Rounds(gone, score, width=1, max_rows=max_rows, share=share or max_rows)


def test_what_does_not_fit_waits_for_the_next_turn_of_the_loop_whatever_joins_meanwhile() -> None:
    async def test() -> None:
        gone, calls = Gone(), list[int]()
        made = rounds(gone, calls)
        made.join([entry(4), entry(3)])
        assert (calls, made.waiting) == ([4], 1)
        made.join([entry(1)])  # in the same turn: others have not had theirs
        assert (calls, made.waiting) == ([4], 2)
        await eventually(lambda: not made.waiting)
        assert calls == [4, 4]  # and they shared a call
        assert gone.scored_rows == [4, 3, 1]

    run(test)


def test_a_round_begins_at_once_each_time_that_the_model_is_free_and_nothing_waits() -> None:
    async def test() -> None:
        gone, calls = Gone(), list[int]()
        made = rounds(gone, calls)
        for _ in range(3):
            made.join([entry(2)])
        assert (calls, gone.scored_rows) == ([2, 2, 2], [2, 2, 2])
        await made.close()
        assert gone.errors == []

    run(test)


def test_rounds_that_never_called_the_model_end_late_entries_and_close() -> None:
    async def test() -> None:
        gone, calls = Gone(), list[int]()
        made = rounds(gone, calls)
        await made.close()
        loop = asyncio.get_running_loop()
        made.join([entry(4), entry(1, loop.time())])
        assert calls == [4]
        await eventually(lambda: bool(gone.errors))
        assert [type(err) for err in gone.errors] == [TimeoutError]
        await made.close()

    run(test)


def test_entries_that_are_over_or_whose_time_is_up_leave_no_gap_in_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        gone, calls = Gone(), list[int]()
        loop = asyncio.get_running_loop()
        now = loop.time()
        abandoned = entry(1)
        abandoned.abandon()
        with monkeypatch.context() as clock:
            clock.setattr(loop, "time", lambda: now)
            rounds(gone, calls).join([entry(1), abandoned, entry(1, now), entry(2)])
        assert calls == [3]
        assert [type(err) for err in gone.errors] == [TimeoutError]  # nobody is told of the one that was abandoned

    run(test)


def test_what_the_model_works_on_has_ended_once_rounds_are_closed() -> None:
    async def test() -> None:
        begun, ended = asyncio.Event(), list[bool]()

        async def score(matrix: Matrix) -> Scores:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.append(True)
            return matrix[:, 0]

        made = Rounds(Gone(), score, width=1, max_rows=4, share=4)
        made.join([entry(1)])
        await begun.wait()
        await made.close()
        assert ended == [True]

    run(test)


@pytest.mark.parametrize(
    ("entries", "rows", "expected"), [(MOST_ENTRIES, 2, [2 * MOST_ENTRIES]), (MOST_ENTRIES + 6, 1, [MOST_ENTRIES, 6])]
)
def test_a_call_is_of_so_many_entries_and_no_more_each_with_all_its_turns(
    entries: int, rows: int, expected: list[int]
) -> None:
    async def test() -> None:
        gone, calls = Gone(), list[int]()
        made = rounds(gone, calls, max_rows=1024, share=1)
        made.join([entry(rows) for _ in range(entries)])
        await eventually(lambda: not made.waiting)
        assert calls == expected
        assert gone.scored_rows == entries * [rows]

    run(test)


def test_pieces_of_lists_whose_call_fails_go_alone_once_from_where_they_were() -> None:
    async def test() -> None:
        calls: list[list[float]] = []
        waiting: list[int] = []

        def score(matrix: Matrix) -> Scores:
            calls.append(matrix[:, 0].tolist())
            waiting.append(made.waiting)
            if len(calls) == 2:
                raise ModelFailed(len(matrix), "together")
            return matrix[:, 0].copy()

        gone = Gone()
        made = Rounds(gone, score, width=1, max_rows=4, share=2)
        one, other, short = entry(6), entry(6, first=10), entry(2, first=20)
        made.join([one, other, short])
        await eventually(lambda: len(gone.scored_rows) == 3)
        assert calls == [[0, 1, 10, 11], [20, 21, 2, 3], [20, 21], [2, 3], [12, 13, 4, 5], [14, 15]]
        assert waiting == [3, 2, 2, 2, 1, 0]
        for scored, first in ((one, 0), (other, 10), (short, 20)):
            assert scored.scores is not None
            assert scored.scores.tolist() == [*range(first, first + scored.rows)]

    run(test)


def test_scores_that_come_as_the_time_is_up_are_late(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        gone = Gone()
        loop = asyncio.get_running_loop()
        now = [loop.time()]
        deadline = now[0] + 9

        def score(matrix: Matrix) -> Scores:
            now[0] = deadline
            return matrix[:, 0]

        with monkeypatch.context() as clock:
            clock.setattr(loop, "time", lambda: now[0])
            made = Rounds(gone, score, width=1, max_rows=4, share=4)
            made.join([entry(1, deadline), entry(2)])
        assert (gone.scored_rows, [type(err) for err in gone.errors]) == ([2], [TimeoutError])
        await made.close()

    run(test)


def test_each_deadline_is_kept_whatever_the_order_in_which_entries_came() -> None:
    async def test() -> None:
        gone = Gone()
        loop = asyncio.get_running_loop()
        made = Rounds(gone, lambda _matrix: loop.create_future(), width=1, max_rows=4, share=4)
        now = loop.time()
        made.join([entry(1, now + 60), entry(1, now + 0.02), entry(1, now + 0.04)])
        made.join([entry(1, now + 0.06), entry(1, now + 61)])
        await eventually(lambda: len(gone.errors) == 3)
        assert [type(err) for err in gone.errors] == 3 * [TimeoutError]
        await made.close()

    run(test)


def test_timer_rings_at_deadlines_alone_also_once_rounds_were_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        gone, loop = Gone(), asyncio.get_running_loop()
        call_at, rings, wrong = loop.call_at, list[float](), list[dict[str, Any]]()

        def noted(when: float, callback: Callable[..., object], *given: Any, **how: Any) -> asyncio.TimerHandle:
            if isinstance(getattr(callback, "__self__", None), Expiry):
                rings.append(when)
            return call_at(when, callback, *given, **how)

        loop.set_exception_handler(lambda _loop, context: wrong.append(context))
        monkeypatch.setattr(loop, "call_at", noted)
        made = Rounds(gone, lambda _matrix: loop.create_future(), width=1, max_rows=4, share=4)
        made.join([entry(1)])
        assert rings == []
        soon, late = loop.time() + 0.02, loop.time() + 60
        made.join([entry(1, soon), entry(1, late)])
        await eventually(lambda: len(gone.errors) == 1)
        await asyncio.sleep(0.03)
        assert list(dict.fromkeys(rings)) == [soon, late]
        assert len(rings) <= 3  # a loop may ring a little early
        await made.close()
        made.join([entry(1, loop.time() + 0.02)])
        await eventually(lambda: len(gone.errors) == 4)
        kinds = [TimeoutError, asyncio.CancelledError, asyncio.CancelledError, TimeoutError]
        assert [type(err) for err in gone.errors] == kinds
        await made.close()
        assert wrong == []

    run(test)


def test_an_answer_of_before_rounds_were_closed_is_no_answer_of_now() -> None:
    async def test() -> None:
        gone = Gone()
        answers: list[asyncio.Future[Scores]] = []

        def score(_matrix: Matrix) -> asyncio.Future[Scores]:
            answers.append(asyncio.get_running_loop().create_future())
            return answers[-1]

        made = Rounds(gone, score, width=1, max_rows=4, share=4)
        made.join([entry(1)])
        closing = asyncio.create_task(made.close())
        await asyncio.sleep(0)
        made.join([entry(2)])
        made.join([entry(3)])
        await closing
        assert [type(err) for err in gone.errors] == [asyncio.CancelledError]
        assert (len(answers), made.waiting) == (2, 1)
        answers[1].set_result(np.zeros(2, np.float32))
        await asyncio.sleep(0)
        assert (gone.scored_rows, len(answers), made.waiting) == ([2], 3, 0)  # the next call is out at once
        answers[2].set_result(np.zeros(3, np.float32))
        await asyncio.sleep(0)
        await made.close()
        assert (gone.scored_rows, len(gone.errors)) == ([2, 3], 1)  # what has left is told nothing more

    run(test)


def test_scores_that_are_no_future_are_taken_as_soon_as_they_are_told_of() -> None:
    class Told:
        scores: Scores

        def add_done_callback(self, told: Callable[[Told], None]) -> None:
            self.tell = told

        def result(self) -> Scores:
            return self.scores

        def cancel(self) -> None: ...

    async def test() -> None:
        gone, answer = Gone(), Told()
        made = Rounds(gone, lambda _matrix: answer, width=1, max_rows=4, share=4)
        made.join([entry(2)])
        assert (gone.scored_rows, gone.errors) == ([], [])
        answer.scores = np.zeros(2, np.float32)
        answer.tell(answer)
        assert gone.scored_rows == [2]  # without a turn of the event loop
        await made.close()

    run(test)


def test_rows_of_several_blocks_go_out_as_float32_in_memory_that_is_used_again() -> None:
    async def test() -> None:
        matrices: list[Matrix] = []

        def score(matrix: Matrix) -> Scores:
            matrices.append(matrix)
            return matrix[:, 0].copy()

        made = Rounds(Gone(), score, width=1, max_rows=4, share=4)
        for rows in ((1, 2), (2, 2)):
            made.join([entry(n, first=10 * n) for n in rows])
        assert [matrix.dtype for matrix in matrices] == [np.float32, np.float32]
        assert matrices[1][:, 0].tolist() == [20, 21, 20, 21]
        assert np.shares_memory(*matrices)

    run(test)


def test_a_turn_is_no_longer_than_a_call() -> None:
    async def test() -> None:
        gone, calls = Gone(), list[int]()
        made = rounds(gone, calls, max_rows=4, share=100)
        made.join([entry(10)])
        await eventually(lambda: not made.waiting)
        assert calls == [4, 4, 2]

    run(test)


def test_only_an_entry_that_goes_with_no_other_and_before_no_other_is_alone() -> None:
    async def test() -> None:
        gone, ways = Gone(), list[str]()

        def way(name: str) -> Callable[[Matrix], Scores]:
            def score(matrix: Matrix) -> Scores:
                ways.append(f"{name} {len(matrix)}")
                return matrix[:, 0]

            return score

        made = Rounds(gone, way("busy"), width=1, max_rows=4, share=2, score_alone=way("alone"))
        made.join([entry(3)])
        made.join([entry(1)])
        await eventually(lambda: len(gone.scored_rows) == 2)
        assert ways == ["alone 3", "alone 1"]
        made.join([entry(1), entry(1)])
        await eventually(lambda: len(gone.scored_rows) == 4)
        assert ways[2:] == ["busy 2"]
        made.join([entry(6), entry(4)])
        await eventually(lambda: len(gone.scored_rows) == 6)
        assert set(ways[3:-1]) == {"busy 4"}  # whoever comes last is alone again

    run(test)
