import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from ranker.errors import ModelFailed, RunnerUnavailable, WrongShape
from ranker.scoring.runner_channel import ChannelClient, ChannelServer
from ranker.vectors.rows import Matrix, Scores

WIDTH, MAX_ROWS = 3, 50


async def total(matrix: Matrix) -> Scores:
    if (matrix < 0).any():
        raise ModelFailed(len(matrix), "a negative value — ∅")
    return matrix.sum(axis=1)


def run(
    short_path: Path,
    test: Callable[[ChannelClient, ChannelServer, Path], Awaitable[None]],
    score: Callable[[Matrix], Awaitable[Scores]] = total,
    timeout_s: float = 2.0,
) -> None:
    async def bounded() -> None:
        path = short_path / "runner.rows"
        server = ChannelServer(score, WIDTH, MAX_ROWS)
        await server.open(path)
        client = ChannelClient(path, WIDTH, MAX_ROWS, timeout_s=timeout_s)
        try:
            async with asyncio.timeout(10):
                await test(client, server, path)
        finally:
            client.close()
            await server.close()

    asyncio.run(bounded())


def matrix(rows: int, start: float = 0.0) -> Matrix:
    return np.arange(start, start + rows * WIDTH, dtype=np.float32).reshape(rows, WIDTH)


def test_scores_come_back_for_every_size(short_path: Path) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        for rows in (1, MAX_ROWS, 7):
            assert (await client.score(matrix(rows))).tolist() == matrix(rows).sum(axis=1).tolist()
        assert os.listdir(short_path) == ["runner.rows"]  # the shared file has no name any more

    run(short_path, test)


def test_two_callers_do_not_mix(short_path: Path) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        other = ChannelClient(path, WIDTH, MAX_ROWS, timeout_s=2)

        async def many(who: ChannelClient, start: float) -> None:
            for rows in range(1, MAX_ROWS):
                assert (await who.score(matrix(rows, start))).tolist() == matrix(rows, start).sum(axis=1).tolist()

        await asyncio.gather(many(client, 0.0), many(other, 1000.0))
        other.close()

    run(short_path, test)


def test_models_error_is_told_and_the_channel_lives_on(short_path: Path) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        with pytest.raises(ModelFailed) as told:
            await client.score(-matrix(2, 1.0))
        assert str(told.value) == str(ModelFailed(2, "a negative value — ∅"))  # as in the runner, and once
        assert (await client.score(matrix(2))).tolist() == [3, 12]

    run(short_path, test)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (WrongShape("The output y", (2, 3), "one score for each of 2 rows"), "The output y has shape (2, 3); expected"),
        (MemoryError("no room for 2 rows"), "MemoryError: no room for 2 rows"),
    ],
)
def test_whatever_the_model_raises_is_told_as_its_own_and_not_as_a_runner_that_is_gone(
    short_path: Path, caplog: pytest.LogCaptureFixture, raised: Exception, said: str
) -> None:
    async def score(matrix: Matrix) -> Scores:
        raise raised

    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        for _ in range(2):
            with pytest.raises(ModelFailed) as told:
                await client.score(matrix(2))
            assert said in str(told.value)

    run(short_path, test, score)
    assert bool(caplog.records) == isinstance(raised, MemoryError)  # what was not foreseen has its traceback there


def test_runner_that_comes_back_is_found_again(short_path: Path) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        await client.score(matrix(2))
        await server.close()
        with pytest.raises(RunnerUnavailable):
            await client.score(matrix(2))
        successor = ChannelServer(total, WIDTH, MAX_ROWS)
        await successor.open(path)
        assert (await client.score(matrix(2))).tolist() == [3, 12]
        await successor.close()

    run(short_path, test)


def test_silent_runner_is_given_up_in_time_and_its_late_scores_are_not_taken(short_path: Path) -> None:
    first = True

    async def slow_once(matrix: Matrix) -> Scores:
        nonlocal first
        if first:
            first = False
            await asyncio.sleep(0.3)
        return await total(matrix)

    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        with pytest.raises(RunnerUnavailable, match="100 ms"):
            await client.score(matrix(2, 500.0))
        for _ in range(20):
            assert (await client.score(matrix(2))).tolist() == [3, 12]
            await asyncio.sleep(0.02)

    run(short_path, test, slow_once, timeout_s=0.1)


def test_caller_of_another_shape_is_hung_up_on(short_path: Path) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        stranger = ChannelClient(path, WIDTH + 1, MAX_ROWS, timeout_s=1)
        with pytest.raises(RunnerUnavailable):
            await stranger.score(np.ones((1, WIDTH + 1), np.float32))
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"../../../etc/passwd".ljust(64, b"\0"))
        assert await reader.read() == b""
        writer.close()
        assert (await client.score(matrix(1))).tolist() == [3]

    run(short_path, test)
