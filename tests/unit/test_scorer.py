import asyncio
import threading
import time

import numpy as np

from ranker.encoding import Matrix, Scores
from ranker.scorer import INLINE_S, Scorer


def test_long_calls_leave_the_loop_free_and_short_ones_stay_on_it() -> None:
    threads: list[bool] = []
    delay_s = 0.0

    def score(matrix: Matrix) -> Scores:
        threads.append(threading.current_thread() is threading.main_thread())
        time.sleep(delay_s * len(matrix))
        return matrix[:, 0] * 2

    async def run(rows: int) -> list[float]:
        return (await scorer(np.ones((rows, 1), np.float32))).tolist()

    async def test() -> None:
        nonlocal delay_s
        assert await run(3) == [2, 2, 2]
        for _ in range(40):
            await run(1)
        assert threads[0] is False  # nothing known yet
        assert threads[-1] is True
        assert await run(3) == [2, 2, 2]
        assert threads[-1] is True
        delay_s = 2 * INLINE_S
        for _ in range(5):
            await run(10)
        assert threads[-1] is False
        ticks = 0
        task = asyncio.create_task(run(20))
        while not task.done():
            await asyncio.sleep(0.001)
            ticks += 1
        assert ticks > 5

    scorer = Scorer(score)
    asyncio.run(test())
    scorer.close()
