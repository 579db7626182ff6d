from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic

import pytest

from ranker.errors import Overloaded
from ranker.scheduling.admission import ADJUST_S, FIRST_ROW_BYTES, HOLD_S, MEMORY_S, Admission
from tests.support.sample import run

ROW_BYTES = 10


class Simulated(Admission):
    """One whose time is what a test says."""

    def __init__(self, max_rows: int, target_s: float) -> None:
        self.now = 0.0
        super().__init__(max_rows, target_s, lambda: self.now)


def admission(max_rows: int = 1000, target_s: float = 0.5) -> Simulated:
    """One that has seen a request, so that it knows how long bodies are."""
    made = Simulated(max_rows, target_s)
    for _ in range(100):
        made.enter(100, 100 * ROW_BYTES)
        made.leave(100)
    return made


def test_rows_beyond_the_limit_are_refused_until_some_leave() -> None:
    entry = admission()
    entry.enter(600, 6000)
    with pytest.raises(Overloaded):
        entry.enter(401, 4010)
    entry.enter(400, 4000)
    entry.leave(600, ranked=True)
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


async def rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_body_may_come_that_fills_the_limit_exactly() -> None:
    async def test() -> None:
        entry = Simulated(1000, 0.5)
        entry.enter(900, 0)  # a body without a length teaches nothing
        assert entry.expect(100 * int(FIRST_ROW_BYTES))
        await rounds(3)
        assert not entry.expect(101 * int(FIRST_ROW_BYTES))

    run(test)


def test_body_that_never_comes_is_forgotten_after_two_rounds_each_time() -> None:
    async def test() -> None:
        entry = admission()
        entry.enter(900, 9000)
        for _ in range(3):
            assert entry.expect(90 * ROW_BYTES)
            await rounds(1)
            assert not entry.expect(90 * ROW_BYTES)
            await rounds(2)
        entry.queue(90 * ROW_BYTES)  # it came after all
        entry.unqueue(90 * ROW_BYTES)
        assert entry.expect(90 * ROW_BYTES)
        await rounds(3)
        assert entry.expect(90 * ROW_BYTES)

    run(test)


def test_all_bodies_that_wait_count() -> None:
    async def test() -> None:
        entry = admission()
        entry.enter(900, 9000)
        entry.queue(50 * ROW_BYTES)
        entry.queue(40 * ROW_BYTES)
        assert not entry.expect(20 * ROW_BYTES)
        assert entry.expect(9 * ROW_BYTES)

    run(test)


def test_worker_is_crowded_when_half_of_the_limit_is_in_flight_or_waits() -> None:
    entry = admission()
    entry.enter(400, 4000)
    assert not entry.crowded
    entry.queue(90 * ROW_BYTES)
    assert not entry.crowded
    assert entry.expect(2000 * ROW_BYTES)  # whether its rows fit is said once they are counted
    entry.queue(20 * ROW_BYTES)
    assert entry.crowded


def test_body_refused_by_its_length_is_pressure() -> None:
    entry = admission(target_s=0.5)
    for _ in range(150):
        entry.enter(900, 9000)
        assert not entry.expect(10_000)
        entry.leave(900)
        answer(entry, 40)  # 400 rows a second
    assert entry.limit == pytest.approx(200, abs=2)


def test_limit_is_moved_again_and_again_by_the_time_that_passed() -> None:
    class Watched(Admission):
        def adjust_once(self, elapsed_s: float) -> None:
            passed.append(elapsed_s)
            if len(passed) == 3:
                enough.set()

    passed: list[float] = []
    enough = asyncio.Event()

    async def test() -> None:
        began = monotonic()
        adjusting = asyncio.create_task(Watched(1000, 0.5).adjust())
        await enough.wait()
        adjusting.cancel()
        assert min(passed) >= 0.9 * ADJUST_S
        assert sum(passed) <= monotonic() - began

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


def answer(
    entry: Simulated,
    count: int = 20,
    *,
    late: int = 0,
    late_after_s: float = 1.0,
    elapsed_s: float = ADJUST_S,
    busy_s: float | None = None,
) -> None:
    """Answer requests of a row each in the time that passed, or in a part of it."""
    busy_s = elapsed_s if busy_s is None else busy_s
    for number in range(count):
        entry.enter(1, ROW_BYTES)
        entry.now += busy_s / count
        if number < late:
            entry.leave(1, late_after_s=late_after_s)
        else:
            entry.leave(1, ranked=True)
    entry.now += elapsed_s - busy_s
    entry.adjust_once(elapsed_s)


def refuse(entry: Simulated) -> None:
    alone = not entry.rows
    if alone:  # or it would be let in, or be too much at any time
        entry.enter(1, ROW_BYTES)
    with pytest.raises(Overloaded):
        entry.enter(100_000, 1_000_000)
    if alone:
        entry.leave(1)


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


def burst(entry: Simulated, *, requests: int = 12, rows: int = 200, busy_s: float = 0.04) -> None:
    """Answer some requests that came together, in a part of the time that passed."""
    for _ in range(requests):
        entry.enter(rows, rows * ROW_BYTES)
    entry.now += busy_s
    for _ in range(requests):
        entry.leave(rows, ranked=True)
    entry.now += ADJUST_S - busy_s
    entry.adjust_once(ADJUST_S)


def pass_quietly(entry: Simulated, seconds: float) -> None:
    for _ in range(round(seconds / ADJUST_S)):
        entry.now += ADJUST_S
        entry.adjust_once(ADJUST_S)


def test_what_is_late_because_its_caller_allowed_little_is_no_pressure() -> None:
    entry = admission(target_s=0.5)
    for _ in range(30):
        answer(entry, late=20, late_after_s=0.001)
    assert entry.limit == 1000
    for _ in range(30):
        answer(entry, 20, late=20, late_after_s=0.5)  # as long as answers may take under pressure
    assert entry.limit < 100


def test_what_is_late_because_its_caller_allowed_little_hides_no_pressure() -> None:
    entry = admission(target_s=0.5)
    for _ in range(30):
        for _ in range(1000):
            entry.enter(1, ROW_BYTES)
            entry.leave(1, late_after_s=0.001)
        answer(entry, 8, late=4)
    assert entry.limit < 100


def test_quiet_worker_under_pressure_lets_in_what_it_ranks_when_it_has_enough_to_rank() -> None:
    entry = admission(60_000)
    for _ in range(25):
        burst(entry)  # 60,000 rows a second, of which it is asked for 800
        pass_quietly(entry, 2.9)
    for _ in range(50):
        refuse(entry)
        answer(entry, 5, busy_s=0.005)
    assert entry.limit == pytest.approx(30_000, rel=0.3)


def test_overload_that_lasts_counts_the_time_that_refusing_takes() -> None:
    entry = admission(60_000)
    for _ in range(25):
        burst(entry)
    for _ in range(50):
        refuse(entry)
        answer(entry, 40, busy_s=0.04)  # the rest is spent on refusals
    assert entry.limit == pytest.approx(200, abs=2)


def test_requests_that_wait_for_something_else_lower_nothing_while_nobody_is_refused() -> None:
    entry = admission(60_000)
    for _ in range(25):
        burst(entry)
    for _ in range(600):
        answer(entry, 10)  # one caller who asks again once answered
    refuse(entry)
    for _ in range(9):
        pass_quietly(entry, ADJUST_S)
    assert entry.limit == pytest.approx(30_000, rel=0.1)


def test_scores_that_come_in_lumps_promise_no_more_than_they_are() -> None:
    entry = admission(60_000)
    entered = 0
    for window in range(250):  # calls of half a second, of 1,000 rows where there is room
        if window % 5 == 0:
            if entered:
                entry.leave(entered, ranked=True)
            entered = min(1000, entry.limit)
            entry.enter(entered, entered * ROW_BYTES)
        if window > 220:
            refuse(entry)
        entry.now += ADJUST_S
        entry.adjust_once(ADJUST_S)
    assert 500 < entry.limit < 1500


def test_request_that_no_limit_would_let_in_is_no_pressure() -> None:
    entry = admission()
    answer(entry)
    for _ in range(30):
        with pytest.raises(Overloaded, match="has 1001 products, and 1000 rows in flight are the most"):
            entry.enter(1001, 1001 * ROW_BYTES)
        answer(entry)
    assert entry.limit == 1000


def overload(entry: Simulated, ranked_per_s: float, asked: float, seconds: float) -> tuple[int, int, list[float]]:
    """Ask `asked` times what can be ranked; return how many were late and refused, and how long the others took.

    The first half of the seconds, which fills the queue, does not count.
    """
    deadline_s, step_s = 1.0, 0.01
    queue, took, late, refused = deque[float](), list[float](), 0, 0
    asked_for = ranked = 0.0
    steps = round(seconds / step_s)
    for step in range(steps):
        if step == steps // 2:
            late, refused = 0, 0
            took.clear()
        entry.now = now = step * step_s
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
                entry.leave(100, late_after_s=deadline_s)
            else:
                ranked -= 1
                took.append(now - came)
                entry.leave(100, ranked=True)
        ranked = min(ranked, 1)
        if step % 10 == 9:
            entry.adjust_once(ADJUST_S)
    return late, refused, took


@pytest.mark.parametrize("asked", [1.2, 1.5, 3.0])
@pytest.mark.parametrize("ranked_per_s", [50, 200, 1000])
def test_what_is_let_in_is_answered_in_time_however_slow_the_model_and_however_much_is_asked(
    ranked_per_s: int, asked: float
) -> None:
    entry = Simulated(60_000, target_s=0.5)
    late, refused, took = overload(entry, ranked_per_s, asked, 40)
    assert late == 0
    assert refused > 0
    assert len(took) >= 0.97 * 20 * ranked_per_s
    assert max(took) < 0.7


def test_first_look_at_a_worker_counts_what_was_ranked_and_is_no_pressure() -> None:
    entry = Simulated(30, target_s=0.5)
    answer(entry, 5)
    assert entry.limit == 30
    entry = Simulated(30, target_s=0.5)
    refuse(entry)
    answer(entry, 5)  # 50 rows a second
    assert entry.limit == 25


@pytest.mark.parametrize(("ranked", "late", "pressed"), [(18, 2, False), (17, 2, True), (27, 3, False)])
def test_late_scores_are_pressure_where_they_are_more_than_a_tenth_of_the_answers(
    ranked: int, late: int, pressed: bool
) -> None:
    entry = admission(target_s=0.01)
    answer(entry)
    for _ in range(ranked):
        entry.enter(1, ROW_BYTES)
        entry.leave(1, ranked=True)
    for _ in range(late):
        entry.enter(1, ROW_BYTES)
        entry.leave(1, late_after_s=1.0)
    entry.adjust_once(ADJUST_S)
    assert (entry.limit < 1000) is pressed


def test_overload_is_what_lasts_for_three_looks_without_a_calm_one() -> None:
    def look(pressed: bool = True) -> int:
        if pressed:
            refuse(entry)
        answer(entry, 40, busy_s=0.04)  # 1,000 rows a second of busy time, 400 of all
        return entry.limit

    entry = admission(500, target_s=0.5)
    assert [look() for _ in range(6)] == [500, 500, 385, 297, 229, 200]  # each by a factor of 1.3 at most
    calm = look(pressed=False)
    first, second, third = look(), look(), look()
    assert calm < first < second
    assert third < second


def test_limit_moves_again_when_the_last_pressure_is_as_long_ago_as_it_holds() -> None:
    entry = admission(target_s=0.5)
    for _ in range(30):
        refuse(entry)
        answer(entry, 40)
    pressed = entry.limit
    entry.adjust_once(HOLD_S * 0.9)
    assert entry.limit == pressed
    entry.adjust_once(HOLD_S * 0.1)
    assert entry.limit > pressed


def test_limit_is_never_above_what_is_set_be_it_one_row() -> None:
    entry = Simulated(1, target_s=0.5)
    answer(entry, 1)
    assert entry.limit == 1


def test_time_counts_as_busy_before_and_after_a_pause_in_one_look() -> None:
    entry = admission(110, target_s=0.5)
    entry.now = 7.0
    entry.enter(20, 20 * ROW_BYTES)
    entry.now += ADJUST_S / 2
    entry.leave(20, ranked=True)
    entry.enter(1, ROW_BYTES)
    entry.now += ADJUST_S / 2
    refuse(entry)
    entry.adjust_once(ADJUST_S)
    assert entry.limit == pytest.approx(100, abs=1)  # 200 rows a second


def test_rows_in_flight_are_looked_at_once_they_took_as_long_as_is_remembered() -> None:
    entry = admission(500, target_s=0.5)
    entry.enter(300, 300 * ROW_BYTES)
    entry.enter(200, 200 * ROW_BYTES)
    entry.now = MEMORY_S
    entry.leave(300, ranked=True)
    entry.adjust_once(MEMORY_S)  # 300 rows a second
    assert entry.limit == 500
    entry.now += ADJUST_S
    refuse(entry)
    entry.adjust_once(ADJUST_S)
    assert entry._rows_per_s == pytest.approx(270)  # a tenth of what is remembered is new, and none were ranked in it


def ranks(entry: Simulated, per_s: int, *, target_s: float = 0.5) -> None:
    """Let pressure last until what is ranked in a second is known, and is the limit."""
    for _ in range(150):
        refuse(entry)
        answer(entry, round(per_s * ADJUST_S))
    assert entry.limit == pytest.approx(per_s * target_s, abs=2)


def test_a_quarter_of_the_time_is_no_overload_yet() -> None:
    entry = admission(160, target_s=0.5)
    for _ in range(10):
        refuse(entry)
        entry.enter(40, 40 * ROW_BYTES)
        entry.now += 0.125
        entry.leave(40, ranked=True)  # 320 rows a second of busy time
        entry.now += 0.375
        entry.adjust_once(0.5)
    assert entry.limit == 160


def test_overload_lasts_through_a_pause_under_pressure() -> None:
    entry = admission(target_s=0.5)
    ranks(entry, 400)
    refuse(entry)
    answer(entry, 10, busy_s=0.01)
    refuse(entry)
    answer(entry, 80)
    assert entry.limit < 230  # what was known counts, for it is of this overload


def test_late_look_counts_as_one_under_pressure_and_for_its_time_without() -> None:
    entry = admission(target_s=0.5)
    ranks(entry, 400)
    refuse(entry)
    answer(entry, 800, elapsed_s=1.0)
    assert entry.limit == pytest.approx(220, abs=2)
    answer(entry, 720, elapsed_s=0.9)
    assert entry.limit == pytest.approx(220 * 1.3, abs=2)


def test_slow_worker_learns_that_it_ranks_a_little_more() -> None:
    entry = admission(500, target_s=100.0)
    for _ in range(150):
        refuse(entry)
        answer(entry, 1, elapsed_s=1.0)
    assert entry.limit == pytest.approx(100, abs=2)
    for _ in range(19):
        entry.enter(1, ROW_BYTES)
        entry.now += 10 / 19
        entry.leave(1, ranked=True)
    entry.adjust_once(ADJUST_S)
    assert entry.limit == pytest.approx(130, abs=3)


def test_worker_that_takes_seconds_for_a_row_knows_it_from_its_first_look() -> None:
    entry = Simulated(100, target_s=100.0)
    answer(entry, 1, elapsed_s=4.0)  # without pressure, at which a rate would only be raised
    for _ in range(6):
        refuse(entry)
        answer(entry, 1, elapsed_s=4.0)
    assert entry.limit == 25
