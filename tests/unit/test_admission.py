from __future__ import annotations

import asyncio

import pytest

from ranker.admission import Admission
from ranker.errors import Overloaded
from tests.strategies import run

ROW_BYTES = 10


def admission(max_rows: int = 1000, target_s: float = 0.5) -> Admission:
    """One that has seen a request, so that it knows how long bodies are."""
    made = Admission(max_rows, target_s)
    for _ in range(100):
        made.enter(100, 100 * ROW_BYTES)
        made.leave(100, 0.001, late=False)
    return made


def test_rows_beyond_the_limit_are_refused_until_some_leave() -> None:
    entry = admission()
    entry.enter(600, 6000)
    with pytest.raises(Overloaded):
        entry.enter(401, 4010)
    entry.enter(400, 4000)
    entry.leave(600, 0.1, late=False)
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


def answer(entry: Admission, seconds: float, *, count: int = 20, late: int = 0) -> None:
    for number in range(count):
        entry.enter(1, ROW_BYTES)
        entry.leave(1, seconds, late=number < late)
    entry.adjust_once()


def refuse(entry: Admission) -> None:
    with pytest.raises(Overloaded):
        entry.enter(10_000, 100_000)


def test_limit_follows_slow_answers_down_and_quick_ones_up_while_requests_are_refused() -> None:
    entry = admission()
    for _ in range(12):
        refuse(entry)
        answer(entry, 2.0)
    slow = entry.limit
    assert slow < 100
    for _ in range(3):
        refuse(entry)
        answer(entry, 0.1)
    assert slow < entry.limit < 1000
    for _ in range(30):
        refuse(entry)
        answer(entry, 0.1)
    assert entry.limit == 1000


def test_slow_answers_alone_hold_nobody_back() -> None:
    entry = admission()
    for _ in range(10):
        answer(entry, 2.0, late=1)  # one of twenty: an accident
    assert entry.limit == 1000


def test_late_scores_are_pressure_even_where_nobody_was_refused() -> None:
    entry = admission()
    for _ in range(10):
        answer(entry, 2.0, late=10)
    assert entry.limit < 100
    for _ in range(30):
        answer(entry, 0.1)
    assert entry.limit == 1000
