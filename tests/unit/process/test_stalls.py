import asyncio
import gc
import time
from contextlib import suppress

import pytest

from ranker.process.stalls import CollectorWatch, watch_loop
from tests.support.sample import run

pytestmark = pytest.mark.alone


def test_a_loop_that_is_held_up_is_seen_late() -> None:
    async def test() -> None:
        lags: list[float] = []
        watch = asyncio.create_task(watch_loop(lags.append))
        await asyncio.sleep(0.05)
        time.sleep(0.2)  # noqa: ASYNC251 - holding the loop up is the point
        await asyncio.sleep(0.05)
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
        assert max(lags) > 0.15
        assert min(lags) >= 0

    run(test)


def test_each_collection_is_told_with_its_generation_until_stopped() -> None:
    pauses: list[tuple[int, float]] = []
    watch = CollectorWatch(lambda generation, seconds: pauses.append((generation, seconds)))
    watch.start()
    gc.collect(0)
    gc.collect(2)
    watch.stop()
    gc.collect(1)
    told = [generation for generation, _ in pauses]
    assert told.count(2) == 1
    assert 0 in told
    assert all(seconds >= 0 for _, seconds in pauses)
    assert watch._collects not in gc.callbacks
