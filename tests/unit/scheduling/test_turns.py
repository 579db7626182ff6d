import asyncio
from itertools import pairwise

import pytest

from ranker.scheduling.turns import Turns
from tests.support.sample import run


def test_first_come_is_first_served_and_a_round_takes_so_many() -> None:
    async def test() -> None:
        turns, begun, rounds = Turns(3, 1), list[int](), list[int]()

        async def request(i: int) -> None:
            await turns.take()
            begun.append(i)

        async def count() -> None:
            while len(begun) < 10:
                rounds.append(len(begun))
                await asyncio.sleep(0)
            rounds.append(len(begun))

        tasks = [asyncio.create_task(request(i)) for i in range(10)]
        await count()
        await asyncio.gather(*tasks)
        assert begun == list(range(10))
        assert max(after - before for before, after in pairwise(rounds)) == 3

    run(test)


@pytest.mark.parametrize(("refused", "expected"), [(0, 4), (4, 5), (20, 12), (1000, 16)])
def test_a_round_in_which_many_were_refused_begins_more(refused: int, expected: int) -> None:
    async def test() -> None:
        turns, begun = Turns(4, 1, most_per_round=16), 0

        async def request() -> None:
            nonlocal begun
            await turns.take()
            begun += 1

        tasks = [asyncio.create_task(request()) for _ in range(100)]
        rounds: list[int] = []
        while begun < 60:
            rounds.append(begun)
            for _ in range(refused):
                turns.refused()
            await asyncio.sleep(0)
        assert {after - before for before, after in pairwise(rounds[4:])} == {expected}
        await asyncio.gather(*tasks)

    run(test)


def test_a_late_comer_does_not_overtake_those_who_wait() -> None:
    async def test() -> None:
        turns, begun = Turns(1, 1), list[str]()

        async def request(name: str) -> None:
            await turns.take()
            begun.append(name)

        early = [asyncio.create_task(request(name)) for name in "abc"]
        await asyncio.sleep(0)
        late = asyncio.create_task(request("d"))
        await asyncio.gather(*early, late)
        assert begun == list("abcd")

    run(test)


def test_a_request_that_is_gone_takes_no_turn_from_the_others() -> None:
    async def test() -> None:
        turns, begun = Turns(1, 1), list[int]()

        async def request(i: int) -> None:
            await turns.take()
            begun.append(i)

        tasks = [asyncio.create_task(request(i)) for i in range(5)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert begun == [0, 3, 4]
        await asyncio.wait_for(turns.take(), 1)  # and it goes on afterwards

    run(test)


def test_a_timer_fires_between_the_rounds() -> None:
    async def test() -> None:
        turns, begun = Turns(2, 1), 0
        fired_after: list[int] = []

        async def request() -> None:
            nonlocal begun
            await turns.take()
            begun += 1

        tasks = [asyncio.create_task(request()) for _ in range(20)]
        asyncio.get_running_loop().call_later(0, lambda: fired_after.append(begun))
        await asyncio.gather(*tasks)
        assert fired_after[0] <= 4

    run(test)


def test_long_requests_go_on_so_many_at_a_time_and_short_ones_do_not_wait_for_them() -> None:
    async def test() -> None:
        turns, under_way, most, done = Turns(16, 2), 0, 0, list[str]()
        gate = asyncio.Event()

        async def long(name: str) -> None:
            nonlocal under_way, most
            assert await turns.take_long(5)
            under_way += 1
            most = max(most, under_way)
            await gate.wait()
            under_way -= 1
            turns.end_long()
            done.append(name)

        tasks = [asyncio.create_task(long(name)) for name in "abcdef"]
        await asyncio.sleep(0.02)
        await asyncio.wait_for(turns.take(), 1)
        assert done == []
        gate.set()
        await asyncio.gather(*tasks)
        assert most == 2
        assert done == list("abcdef")

    run(test)


def test_a_long_request_whose_turn_does_not_come_is_told_in_time_and_holds_no_turn() -> None:
    async def test() -> None:
        turns = Turns(16, 1)
        assert await turns.take_long(5)
        waits = asyncio.create_task(turns.take_long(0.05))
        await asyncio.sleep(0)
        assert turns.waiting == 1
        assert not await waits
        assert turns.waiting == 0
        assert not await turns.take_long(-1)
        turns.end_long()
        assert await turns.take_long(5)

    run(test)


def test_a_long_request_that_is_gone_while_it_waits_for_a_round_gives_its_turn_back() -> None:
    async def test() -> None:
        turns = Turns(1, 1)
        before = [asyncio.create_task(turns.take()) for _ in range(5)]
        gone = asyncio.create_task(turns.take_long(5))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(*before, gone, return_exceptions=True)
        assert gone.cancelled()
        assert await turns.take_long(5)

    run(test)


def test_a_round_has_room_for_so_many_at_once_and_a_few_refusals_make_no_more() -> None:
    async def test() -> None:
        turns = Turns(3, 1, most_per_round=16)
        tasks = [asyncio.create_task(turns.take()) for _ in range(8)]
        turns.refused()
        turns.refused()
        waiting = []
        for _ in range(3):
            await asyncio.sleep(0)
            waiting.append(turns.waiting)
        assert waiting == [5, 2, 0]
        await asyncio.gather(*tasks)

    run(test)


def test_long_requests_that_wait_are_all_counted() -> None:
    async def test() -> None:
        turns = Turns(16, 1)
        assert await turns.take_long(5)
        tasks = [asyncio.create_task(turns.take_long(5)) for _ in range(3)]
        await asyncio.sleep(0)
        assert turns.waiting == 3
        for task in tasks:
            turns.end_long()
            assert await task
        assert turns.waiting == 0

    run(test)
