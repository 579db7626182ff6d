import asyncio
from itertools import pairwise

from ranker.turns import Turns
from tests.strategies import run


def test_first_come_is_first_served_and_a_round_takes_so_many() -> None:
    async def test() -> None:
        turns, begun, rounds = Turns(3), list[int](), list[int]()

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


def test_a_late_comer_does_not_overtake_those_who_wait() -> None:
    async def test() -> None:
        turns, begun = Turns(1), list[str]()

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
        turns, begun = Turns(1), list[int]()

        async def request(i: int) -> None:
            await turns.take()
            begun.append(i)

        tasks = [asyncio.create_task(request(i)) for i in range(5)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert begun == [0, 3, 4]
        assert turns.waiting == 0
        await asyncio.wait_for(turns.take(), 1)  # and it goes on afterwards

    run(test)


def test_a_timer_fires_between_the_rounds() -> None:
    async def test() -> None:
        turns, begun = Turns(2), 0
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
