from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from ranker.scoring.scorer import FIXED_ROWS, INLINE_S
from ranker.scoring.split.preparation import Preparation
from ranker.scoring.split.product_part import ProductPart
from ranker.vectors.rows import Matrix
from tests.support.models import schema_of_width
from tests.support.splits import BOOKS, cut_towers

SCHEMA = schema_of_width(2, 3)
PART = ProductPart(cut_towers(SCHEMA).parts, SCHEMA)


def products(*ids: int) -> Matrix:
    rows = np.zeros((len(ids), 3), np.float32)
    rows[:, 0] = ids
    return rows


class SlowPart(ProductPart):
    """One that keeps a core busy for so many seconds a product, and notes where and with how many."""

    def __init__(self, row_s: float) -> None:
        super().__init__(cut_towers(SCHEMA).parts, SCHEMA)
        self.row_s = row_s
        self.calls: list[tuple[str, int]] = []

    def prepare(self, products: Matrix) -> Matrix:
        if hasattr(self, "calls"):
            self.calls.append((threading.current_thread().name, len(products)))
            until = time.thread_time() + self.row_s * len(products)
            while time.thread_time() < until:
                pass
        return super().prepare(products)


def test_prepares_what_the_part_does() -> None:
    rows = products(*range(BOOKS))
    prepared, reasons = asyncio.run(Preparation(PART).prepare(rows))
    np.testing.assert_array_equal(prepared, PART.prepare(rows))
    assert reasons == {}
    prepared, reasons = asyncio.run(Preparation(PART).prepare(rows[:0]))
    assert (prepared.shape, reasons) == ((0, PART.width), {})


@pytest.mark.parametrize("unknown", [(3,), (0, 41, 99), tuple(range(100))])
def test_product_that_the_part_cannot_take_costs_itself_alone(unknown: tuple[int, ...]) -> None:
    ids = [BOOKS + 5 if i in unknown else i for i in range(100)]
    prepared, reasons = asyncio.run(Preparation(PART).prepare(products(*ids)))
    assert tuple(sorted(reasons)) == unknown
    assert all(f"idx={BOOKS + 5}" in reason for reason in reasons.values())
    known = [i for i in range(100) if i not in unknown]
    np.testing.assert_array_equal(prepared[known], PART.prepare(products(*known)))
    np.testing.assert_array_equal(prepared[list(unknown)], np.tile(PART.default, (len(unknown), 1)))


def test_others_have_their_turn_between_slices() -> None:
    part = SlowPart(INLINE_S / (4 * FIXED_ROWS))

    async def test() -> int:
        preparation = Preparation(part)
        part.calls.clear()
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.ensure_future(others())
        both = asyncio.gather(*(preparation.prepare(np.tile(products(1), (32 * FIXED_ROWS, 1))) for _ in range(2)))
        prepared = await both
        beside.cancel()
        preparation.close()
        assert all(len(values) == 32 * FIXED_ROWS and not reasons for values, reasons in prepared)
        return turns

    turns = asyncio.run(test())
    assert sum(rows for _, rows in part.calls) == 64 * FIXED_ROWS
    assert max(rows for _, rows in part.calls) < 64 * FIXED_ROWS
    assert {name for name, _ in part.calls} == {"MainThread"}
    assert turns >= len(part.calls)  # however many wait, one slice a turn


def test_what_takes_long_goes_to_a_thread_in_turns_of_few() -> None:
    part = SlowPart(INLINE_S / 20)

    async def test() -> list[str]:
        preparation = Preparation(part)
        part.calls.clear()
        ended: list[str] = []

        async def prepare(name: str, rows: int) -> None:
            await preparation.prepare(np.tile(products(1), (rows, 1)))
            ended.append(name)

        await asyncio.gather(prepare("catalogue", 10 * FIXED_ROWS), prepare("request", 50))
        preparation.close()
        return ended

    assert asyncio.run(test()) == ["request", "catalogue"]
    assert max(rows for _, rows in part.calls) == FIXED_ROWS
    assert not any(name == "MainThread" for name, _ in part.calls)


def test_what_nobody_waits_for_never_takes_the_loops_turn() -> None:
    part = SlowPart(0.0)

    async def test() -> None:
        preparation = Preparation(part, background=True)
        part.calls.clear()
        prepared, _ = await preparation.prepare(products(*range(BOOKS)))
        preparation.close()
        np.testing.assert_array_equal(prepared, PART.prepare(products(*range(BOOKS))))

    asyncio.run(test())
    assert [rows for _, rows in part.calls] == [FIXED_ROWS, BOOKS - FIXED_ROWS]
    assert not any(name == "MainThread" for name, _ in part.calls)


def test_each_slice_is_told_of() -> None:
    told: list[tuple[float, int]] = []

    async def test() -> None:
        preparation = Preparation(PART, lambda *slice_: told.append(slice_))
        told.clear()  # what it tried at the start
        await preparation.prepare(products(1, 2, 3))

    asyncio.run(test())
    ((seconds, rows),) = told
    assert rows == 3
    assert seconds > 0
