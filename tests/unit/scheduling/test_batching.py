import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from ranker.errors import StoreUnavailable
from ranker.scheduling.batching import Call, MicroBatcher

Rows = np.ndarray


class Hop:
    """A call that waits at a gate and records the size of each call."""

    def __init__(self) -> None:
        self.calls: list[list[float]] = []
        self.gate = asyncio.Event()
        self.in_flight = self.most_in_flight = 0

    async def __call__(self, rows: Rows) -> Rows:
        self.calls.append(rows.tolist())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await self.gate.wait()
        await asyncio.sleep(0)
        self.in_flight -= 1
        if (rows < 0).any():
            raise ValueError("negative row")
        return rows * 10


def batcher(call: Callable[[Rows], Awaitable[Rows]], **options: int) -> MicroBatcher[Rows, Rows]:
    limits = {"max_rows": 8, "share": 4} | options
    return MicroBatcher(call, np.concatenate, np.concatenate, **limits)  # type: ignore[arg-type]  # by name, as tests set them


def rows(*values: float) -> Rows:
    return np.array(values, dtype=np.float32)


async def turns(n: int = 3) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(5):
            await test()

    asyncio.run(bounded())


def test_lone_request_goes_out_at_once_and_unmerged() -> None:
    async def test() -> None:
        hop = Hop()
        future = batcher(hop).submit(rows(1, 2))
        await turns(1)
        assert hop.calls == [[1, 2]]
        hop.gate.set()
        assert (await future).tolist() == [10, 20]

    run(test)


def test_what_waits_while_a_call_is_out_goes_out_as_one() -> None:
    async def test() -> None:
        hop = Hop()
        merged = batcher(hop)
        first = merged.submit(rows(0))
        await turns()
        others = [merged.submit(rows(i, i + 0.5)) for i in (1, 2, 3)]
        await turns()
        assert (merged.waiting, [f.call for f in others]) == (3, 3 * [None])
        assert hop.calls == [[0]]
        hop.gate.set()
        assert (await first).tolist() == [0]
        assert [(await f).tolist() for f in others] == [[10, 15], [20, 25], [30, 35]]
        assert hop.calls == [[0], [1, 1.5, 2, 2.5, 3, 3.5]]
        assert hop.most_in_flight == 1
        assert [f.call for f in (first, *others)] == [Call(1, 1)] + 3 * [Call(3, 6)]

    run(test)


def test_at_most_max_in_flight_calls_are_out() -> None:
    async def test() -> None:
        hop = Hop()
        merged = batcher(hop, max_in_flight=2, max_rows=2, share=2)
        futures = []
        for i in range(5):
            futures.append(merged.submit(rows(i, i)))
            await turns()
        assert len(hop.calls) == 2
        hop.gate.set()
        assert [(await f).tolist() for f in futures] == [[10 * i, 10 * i] for i in range(5)]
        assert hop.most_in_flight == 2

    run(test)


def test_large_request_is_split_and_comes_back_whole_and_in_order() -> None:
    async def test() -> None:
        hop = Hop()
        hop.gate.set()
        for max_in_flight in (1, 3):
            hop.calls.clear()
            whole = rows(*range(27))
            result = await batcher(hop, max_in_flight=max_in_flight).submit(whole)
            assert result.tolist() == (whole * 10).tolist()
            assert max(len(c) for c in hop.calls) <= 8

    run(test)


def test_last_piece_of_a_request_takes_no_row_of_the_one_behind_it_in_the_call() -> None:
    async def test() -> None:
        hop = Hop()
        hop.gate.set()
        batched = batcher(hop, share=2)
        found = await asyncio.gather(batched.submit(rows(1, 2, 3)), batched.submit(rows(4, 5, 6, 7)))
        assert [each.tolist() for each in found] == [[10, 20, 30], [40, 50, 60, 70]]
        assert hop.calls == [[1, 2, 4, 5, 3, 6, 7]]

    run(test)


def test_pieces_that_return_out_of_order_are_put_in_order() -> None:
    async def test() -> None:
        answered = {first: asyncio.Event() for first in (0, 4, 8, 100)}

        async def call(rows: Rows) -> Rows:
            await answered[int(rows[0])].wait()
            return rows * 10

        merged = batcher(call, max_rows=4, max_in_flight=3)
        whole = rows(*range(12))
        long, *others = merged.submit(whole), merged.submit(rows(100)), merged.submit(rows(101))
        for first in (4, 8, 100, 0):  # its last piece goes out when its second is back
            await turns()
            assert not long.future.done()
            answered[first].set()
        assert (await long).tolist() == (whole * 10).tolist()
        assert [(await other).tolist() for other in others] == [[1000], [1010]]

    run(test)


def test_no_request_is_cut_where_a_call_is_full_and_first_come_is_first_served() -> None:
    async def test() -> None:
        hop = Hop()
        hop.gate.set()
        merged = batcher(hop)
        order: list[int] = []
        futures = [merged.submit(rows(*[i] * 3)) for i in range(9)]
        for i, future in enumerate(futures):
            future.future.add_done_callback(lambda _, i=i: order.append(i))  # type: ignore[misc]  # its default is not inferred
        await asyncio.gather(*futures)
        assert hop.calls == [[i, i, i, i + 1, i + 1, i + 1] for i in (0, 2, 4, 6)] + [[8, 8, 8]]
        assert order == list(range(9))

    run(test)


def test_short_request_overtakes_the_rest_of_a_long_one() -> None:
    async def test() -> None:
        hop = Hop()
        hop.gate.set()
        merged = batcher(hop)
        long = merged.submit(rows(*range(100)))
        await turns(1)
        short = merged.submit(rows(7))
        await short
        assert not long.future.done()
        assert len(hop.calls) <= 3
        assert (await long).tolist() == [10 * i for i in range(100)]

    run(test)


def test_request_that_follows_a_call_without_a_pause_is_sent() -> None:
    async def test() -> None:
        async def immediate(rows: Rows) -> Rows:
            return rows

        merged = batcher(immediate)
        for i in range(3):
            future = merged.submit(rows(i))
            await turns(1)  # the sender has ended in this turn
            assert (await future).tolist() == [i]

    run(test)


def test_bad_request_does_not_fail_those_merged_with_it() -> None:
    async def test() -> None:
        hop = Hop()
        hop.gate.set()
        merged = batcher(hop)
        good, bad, also_good = merged.submit(rows(1)), merged.submit(rows(-1)), merged.submit(rows(2))
        assert (await good).tolist() == [10]
        assert (await also_good).tolist() == [20]
        with pytest.raises(ValueError, match="negative"):
            await bad

    run(test)


def test_failed_dependency_is_shared_and_not_asked_again() -> None:
    async def test() -> None:
        calls = 0

        async def down(_: Rows) -> Rows:
            nonlocal calls
            calls += 1
            raise StoreUnavailable("down")

        merged = batcher(down)
        futures = [merged.submit(rows(i)) for i in range(4)]
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert all(isinstance(r, StoreUnavailable) for r in results)
        assert calls == 1
        later = merged.submit(rows(1))  # and the batcher lives on
        with pytest.raises(StoreUnavailable):
            await later

    run(test)


def test_cancelled_request_is_not_sent_and_disturbs_nobody() -> None:
    async def test() -> None:
        hop = Hop()
        merged = batcher(hop)
        first = merged.submit(rows(0))
        await turns()
        gone, stays = merged.submit(rows(1)), merged.submit(rows(2))
        gone.cancel()
        first.cancel()
        hop.gate.set()
        assert (await stays).tolist() == [20]
        assert hop.calls == [[0], [2]]

    run(test)


def test_call_that_returns_too_few_rows_fails_loudly() -> None:
    async def test() -> None:
        async def short(rows: Rows) -> Rows:
            return rows[:-1]

        with pytest.raises(RuntimeError, match="2 rows returned 1"):
            await batcher(short).submit(rows(1, 2))

    run(test)


def test_close_cancels_what_waits_and_what_is_out() -> None:
    async def test() -> None:
        hop = Hop()
        merged = batcher(hop, max_rows=2, share=2)
        futures = [merged.submit(rows(i, i)) for i in range(3)]
        await turns()
        await merged.close()
        assert all(f.future.cancelled() for f in futures)

    run(test)


def test_calls_are_told_with_the_requests_and_rows_merged_into_them() -> None:
    async def test() -> None:
        hop = Hop()
        hop.gate.set()
        told: list[tuple[int, int]] = []
        merged = MicroBatcher(
            hop, np.concatenate, np.concatenate, max_rows=8, share=4, on_call=lambda *call: told.append(call)
        )
        first, second = merged.submit(rows(1, 2), requests=3), merged.submit(rows(4))
        assert (await first).tolist() == [10, 20]
        assert (await second).tolist() == [40]
        assert told == [(4, 3)]
        assert (first.call, second.call) == (Call(4, 3), Call(4, 3))

    run(test)


def test_payload_that_goes_out_alone_and_whole_is_not_copied() -> None:
    async def test() -> None:
        seen: list[Rows] = []

        async def call(rows: Rows) -> Rows:
            seen.append(rows)
            return rows

        payload = rows(1, 2)
        assert await batcher(call).submit(payload) is payload
        assert seen[0] is payload

    run(test)


def test_share_beyond_a_call_is_a_call() -> None:
    async def test() -> None:
        hop = Hop()
        hop.gate.set()
        assert (await batcher(hop, max_rows=4, share=100).submit(rows(*range(10)))).tolist() == [*range(0, 100, 10)]
        assert [len(call) for call in hop.calls] == [4, 4, 2]

    run(test)


def test_request_with_a_bad_piece_fails_and_its_neighbours_do_not() -> None:
    async def test() -> None:
        hop = Hop()
        merged = batcher(hop)
        first = merged.submit(rows(0))
        await turns()
        long, short = merged.submit(rows(1, 2, 3, 4, 5, -6)), merged.submit(rows(7))
        hop.gate.set()
        assert (await first).tolist() == [0]
        assert (await short).tolist() == [70]
        with pytest.raises(ValueError, match="negative"):
            await long
        assert (await merged.submit(rows(8))).tolist() == [80]
        assert merged.waiting == 0

    run(test)
