from __future__ import annotations

import asyncio
from collections import deque

import pytest

from ranker.admission import ADJUST_S, HOLD_S, Admission
from ranker.errors import Overloaded
from tests.strategies import run

ROW_BYTES = 10


def admission(max_rows: int = 1000, target_s: float = 0.5) -> Admission:
    """One that has seen a request, so that it knows how long bodies are."""
    made = Admission(max_rows, target_s)
    for _ in range(100):
        made.enter(100, 100 * ROW_BYTES)
        made.leave(100, late=False)
    return made


def test_rows_beyond_the_limit_are_refused_until_some_leave() -> None:
    entry = admission()
    entry.enter(600, 6000)
    with pytest.raises(Overloaded):
        entry.enter(401, 4010)
    entry.enter(400, 4000)
    entry.leave(600, late=False)
    entry.enter(401, 4010)
    assert entry.rows == 801


def test_body_is_refused_by_its_length_where_its_rows_would_not_fit() -> None:
    async def test() -> None:
        entry = admission()
        entry.enter(900, 9000)
        assert not entry.expect(102 * ROW_BYTES)
        assert entry.expect(90 * ROW_BYTES)
        assert not entry.expect(90 * ROW_BYTES)  # the first of them is on its way
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert entry.expect(90 * ROW_BYTES)  # it never came

    run(test)


def test_what_waits_counts_once_until_it_is_gone() -> None:
    async def test() -> None:
        entry = admission()
        entry.enter(800, 8000)
        assert entry.expect(90 * ROW_BYTES)
        entry.queue(90 * ROW_BYTES)
        for _ in range(3):
            await asyncio.sleep(0)
        assert not entry.expect(120 * ROW_BYTES)
        assert entry.expect(90 * ROW_BYTES)
        entry.queue(90 * ROW_BYTES)
        entry.unqueue(90 * ROW_BYTES)
        entry.unqueue(90 * ROW_BYTES)
        entry.enter(90, 90 * ROW_BYTES)
        assert entry.expect(90 * ROW_BYTES)

    run(test)


def test_lone_request_is_let_in_whatever_the_limit_has_become() -> None:
    async def test() -> None:
        entry = admission()
        entry.limit = 1
        assert entry.expect(500 * ROW_BYTES)
        entry.enter(500, 5000)
        assert not entry.expect(ROW_BYTES)
        with pytest.raises(Overloaded):
            admission().enter(1001, 10010)

    run(test)


def answer(entry: Admission, count: int = 20, *, late: int = 0, elapsed_s: float = ADJUST_S) -> None:
    for number in range(count):
        entry.enter(1, ROW_BYTES)
        entry.leave(1, late=number < late)
    entry.adjust_once(elapsed_s)


def refuse(entry: Admission) -> None:
    with pytest.raises(Overloaded):
        entry.enter(10_000, 100_000)


def test_limit_follows_what_is_ranked_in_the_target_time_while_requests_are_refused() -> None:
    entry = admission(target_s=0.5)
    for _ in range(150):
        refuse(entry)
        answer(entry, 40)  # 400 rows a second
    assert entry.limit == pytest.approx(200, abs=2)
    for _ in range(2):
        refuse(entry)
        answer(entry, 100)
    assert 200 < entry.limit < 1000
    for _ in range(30):
        refuse(entry)
        answer(entry, 300)
    assert entry.limit == 1000


def test_rows_a_second_are_of_the_time_that_passed() -> None:
    entry = admission(target_s=0.5)
    for _ in range(150):
        refuse(entry)
        answer(entry, 80, elapsed_s=2 * ADJUST_S)  # a busy loop looks late
    assert entry.limit == pytest.approx(200, abs=2)


def test_pressure_lasts_for_a_moment_after_its_last_sign() -> None:
    entry = admission(target_s=0.5)
    for _ in range(150):
        refuse(entry)
        answer(entry, 40)
    for _ in range(round(HOLD_S / ADJUST_S) - 2):
        answer(entry, 40)
    assert entry.limit == pytest.approx(200, abs=2)
    for _ in range(30):
        answer(entry, 40)
    assert entry.limit == 1000


def test_few_late_scores_hold_nobody_back() -> None:
    entry = admission()
    for _ in range(10):
        answer(entry, late=1)  # one of twenty: an accident
    assert entry.limit == 1000


def test_late_scores_are_pressure_even_where_nobody_was_refused_and_are_no_throughput() -> None:
    entry = admission(target_s=0.5)
    for _ in range(150):
        answer(entry, 80, late=40)
    assert entry.limit == pytest.approx(200, abs=2)


def overload(entry: Admission, ranked_per_s: float, asked: float, seconds: float) -> tuple[int, int, list[float]]:
    """Ask `asked` times what can be ranked; return how many were late and refused, and how long the others took."""
    deadline_s, step_s = 1.0, 0.01
    queue, took, late, refused = deque[float](), list[float](), 0, 0
    asked_for = ranked = 0.0
    for step in range(round(seconds / step_s)):
        now = step * step_s
        asked_for += asked * ranked_per_s * step_s
        while asked_for >= 1:
            asked_for -= 1
            try:
                entry.enter(100, 1000)
                queue.append(now)
            except Overloaded:
                refused += 1
        ranked += ranked_per_s * step_s
        while queue and ranked >= 1:
            came = queue.popleft()
            if now - came > deadline_s:  # its caller has its answer, so it is not ranked
                late += 1
                entry.leave(100, late=True)
            else:
                ranked -= 1
                took.append(now - came)
                entry.leave(100, late=False)
        ranked = min(ranked, 1)
        if step % 10 == 9:
            entry.adjust_once(ADJUST_S)
    return late, refused, took


@pytest.mark.parametrize("asked", [1.2, 1.5, 3.0])
@pytest.mark.parametrize("ranked_per_s", [50, 200, 1000])
def test_what_is_let_in_is_answered_in_time_however_slow_the_model_and_however_much_is_asked(
    ranked_per_s: int, asked: float
) -> None:
    entry = Admission(60_000, target_s=0.5)
    overload(entry, ranked_per_s, asked, 20)  # the first seconds fill the queue
    late, refused, took = overload(entry, ranked_per_s, asked, 20)
    assert late == 0
    assert refused > 0
    assert len(took) >= 0.97 * 20 * ranked_per_s
    assert max(took) < 0.7
