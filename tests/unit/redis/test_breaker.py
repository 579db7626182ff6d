"""When a breaker lets calls pass, when it asks, and how often."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise

import pytest

from ranker.errors import StoreUnavailable
from ranker.redis.breaker import FIRST_WAIT_S, LONGEST_WAIT_S, Breaker
from tests.support.sample import eventually, run


class Dependency:
    """Up or down, and how often and when it was asked."""

    def __init__(self) -> None:
        self.down = True
        self.asked: list[float] = []

    async def probe(self) -> None:
        self.asked.append(asyncio.get_running_loop().time())
        if self.down:
            raise StoreUnavailable(f"probe {len(self.asked)}")


def test_calls_pass_until_the_first_failure_and_again_after_an_answered_probe() -> None:
    async def test() -> None:
        dependency = Dependency()
        breaker = Breaker("it", dependency.probe)
        breaker.raise_if_open()
        breaker.failed("gone")
        with pytest.raises(StoreUnavailable, match="gone"):
            breaker.raise_if_open()
        await eventually(lambda: len(dependency.asked) >= 2)
        with pytest.raises(StoreUnavailable, match="probe"):  # the newest reason
            breaker.raise_if_open()
        dependency.down = False
        await eventually(lambda: not breaker.is_open)
        breaker.raise_if_open()
        assert breaker.openings == 1
        await breaker.close()

    run(test)


def test_probes_come_early_first_and_then_at_a_bounded_distance() -> None:
    async def test() -> None:
        dependency = Dependency()
        breaker = Breaker("it", dependency.probe)
        began = asyncio.get_running_loop().time()
        breaker.failed("gone")
        await eventually(lambda: len(dependency.asked) >= 8, seconds=20)
        times = [began, *dependency.asked[:8]]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        wanted = [min(FIRST_WAIT_S * 2**i, LONGEST_WAIT_S) for i in range(8)]
        assert all(gap >= wait / 2 * 0.99 for gap, wait in zip(gaps, wanted, strict=True))
        await breaker.close()

    run(test, seconds=30)


def test_failures_of_calls_under_way_start_no_second_round_of_probes() -> None:
    async def test() -> None:
        dependency = Dependency()
        breaker = Breaker("it", dependency.probe)
        for _ in range(100):
            breaker.failed("gone")
        await eventually(lambda: len(dependency.asked) >= 1)
        assert len(dependency.asked) < 5
        assert breaker.openings == 1
        await breaker.close()

    run(test)


def test_failure_after_its_end_starts_no_probes() -> None:
    async def test() -> None:
        dependency = Dependency()
        breaker = Breaker("it", dependency.probe)
        await breaker.close()
        breaker.failed("gone")  # a call that was under way
        await asyncio.sleep(3 * FIRST_WAIT_S)
        assert (dependency.asked, breaker.openings) == ([], 0)

    run(test)


def test_waits_grow_while_only_probes_succeed_and_begin_anew_after_a_call() -> None:
    async def test() -> None:
        dependency = Dependency()
        dependency.down = False
        breaker = Breaker("it", dependency.probe)

        async def outage_s() -> float:
            began = asyncio.get_running_loop().time()
            breaker.failed("gone")
            await eventually(lambda: not breaker.is_open)
            return dependency.asked[-1] - began

        outages = [await outage_s() for _ in range(5)]
        assert outages[4] >= FIRST_WAIT_S * 2**4 / 2 * 0.99  # calls fail and probes do not: ask ever more seldom
        breaker.succeeded()
        before = len(dependency.asked)
        assert await outage_s() >= FIRST_WAIT_S / 2 * 0.99
        assert breaker._wait_s == FIRST_WAIT_S * 2
        assert len(dependency.asked) == before + 1
        await breaker.close()

    run(test)


def test_closing_ends_the_probes() -> None:
    async def test() -> None:
        dependency = Dependency()
        breaker = Breaker("it", dependency.probe)
        breaker.failed("gone")
        await eventually(lambda: bool(dependency.asked))
        await breaker.close()
        asked = len(dependency.asked)
        await asyncio.sleep(4 * FIRST_WAIT_S)
        assert len(dependency.asked) == asked

    run(test)


def test_flapping_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        dependency = Dependency()
        dependency.down = False
        breaker = Breaker("Redis at x", dependency.probe)
        for _ in range(5):
            breaker.failed("gone")
            await eventually(lambda: not breaker.is_open)
            breaker.succeeded()
        await breaker.close()

    with caplog.at_level(logging.WARNING):
        run(test)
    assert [r.getMessage().split("(")[0].split("after")[0] for r in caplog.records] == [
        "Redis at x is down ",
        "Redis at x is back ",
    ]
