"""Both ends of the way to the runner, over a real socket and real shared memory; models are functions."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from ranker.errors import ModelFailed, RunnerUnavailable, WrongShape
from ranker.scoring.channel import shared_rows
from ranker.scoring.channel.call import ChannelCall
from ranker.scoring.channel.client import ChannelClient
from ranker.scoring.channel.server import Begin, ChannelServer
from ranker.scoring.channel.shared_rows import FAILED, NAME_BYTES, OK, U32
from ranker.vectors.rows import Matrix, Scores

WIDTH, MAX_ROWS = 3, 50


def total(matrix: Matrix) -> Scores:
    if (matrix < 0).any():
        raise ModelFailed(len(matrix), "a negative value — ∅")
    return matrix.sum(axis=1)


def run(
    short_path: Path,
    test: Callable[[ChannelClient, ChannelServer, Path], Awaitable[None]],
    score: Begin = total,
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


def test_a_call_that_is_alone_is_scored_by_what_is_there_for_it(short_path: Path) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        def score_alone(matrix: Matrix) -> Scores:
            return np.negative(total(matrix))

        runner = ChannelServer(total, WIDTH, MAX_ROWS, begin_alone=score_alone)
        await runner.open(short_path / "other")
        asking = ChannelClient(short_path / "other", WIDTH, MAX_ROWS, timeout_s=2)
        assert (await asking.score(matrix(1))).tolist() == [3]  # a call that waits to connect is not said to be
        assert (await asking.score(matrix(1))).tolist() == [3]  # nor is what does not say so
        for who, alone, times in ((asking, True, -1), (asking, False, 1), (client, True, 1)):
            over: asyncio.Future[ChannelCall] = asyncio.get_running_loop().create_future()
            who.begin(matrix(2), alone=alone).add_done_callback(over.set_result)
            assert (await over).result().tolist() == [3 * times, 12 * times]
        asking.close()
        await runner.close()

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
    def score(matrix: Matrix) -> Scores:
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

    def slow_once(matrix: Matrix) -> Scores | asyncio.Future[Scores]:
        nonlocal first
        if not first:
            return total(matrix)
        first = False

        async def slowly() -> Scores:
            await asyncio.sleep(0.3)
            return total(matrix)

        return asyncio.ensure_future(slowly())

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


def later(seconds: float) -> Begin:
    """Return what scores in a task, as a thread would."""

    def begin(matrix: Matrix) -> asyncio.Future[Scores]:
        async def slowly() -> Scores:
            await asyncio.sleep(seconds)
            return total(matrix)

        return asyncio.ensure_future(slowly())

    return begin


def test_scores_that_take_long_come_back_too_and_so_does_what_was_raised(short_path: Path) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        assert (await client.score(matrix(MAX_ROWS))).tolist() == total(matrix(MAX_ROWS)).tolist()
        with pytest.raises(ModelFailed, match="a negative value"):
            await client.score(-matrix(2, 1.0))

    run(short_path, test, later(0.01))


def test_scores_of_another_length_are_the_models_failure(short_path: Path) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        with pytest.raises(ModelFailed, match="ValueError"):
            await client.score(matrix(4))

    run(short_path, test, lambda matrix: total(matrix)[:-1])


def test_call_is_told_in_the_turn_its_answer_arrives_in_and_takes_no_task_or_timer(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        await client.score(matrix(1))
        made: list[str] = []
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        found: list[Scores] = []

        def told(call: ChannelCall) -> None:
            found.append(call.result())
            if len(found) == 5:
                over.set()
            else:
                client.begin(matrix(len(found) + 1)).add_done_callback(told)

        waiting = asyncio.ensure_future(over.wait())
        await asyncio.sleep(0)
        for name in ("create_task", "create_future", "call_at"):
            patch(monkeypatch, loop, name, made)
        client.begin(matrix(1)).add_done_callback(told)
        await waiting
        assert [len(scores) for scores in found] == [1, 2, 3, 4, 5]
        assert made == []

    run(short_path, test)


def patch(monkeypatch: pytest.MonkeyPatch, loop: asyncio.AbstractEventLoop, name: str, made: list[str]) -> None:
    """Note each call of a loop's method."""
    method = getattr(loop, name)

    def noted(*given: object, **options: object) -> object:
        made.append(name)
        return method(*given, **options)

    monkeypatch.setattr(loop, name, noted)


def test_second_call_before_the_first_is_over_is_refused(short_path: Path) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        first = asyncio.ensure_future(client.score(matrix(3)))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already"):
            client.begin(matrix(1))
        assert (await first).tolist() == total(matrix(3)).tolist()

    run(short_path, test)


def test_call_that_is_given_up_tells_nobody_and_the_next_one_gets_its_own_scores(short_path: Path) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        for connected in (False, True):
            told: list[ChannelCall] = []
            call = client.begin(matrix(2, 500.0))
            call.add_done_callback(told.append)
            if connected:
                await asyncio.sleep(0.01)
            call.cancel()
            assert (await client.score(matrix(2))).tolist() == [3, 12]
            assert told == []

    run(short_path, test, later(0.05))


def test_runner_that_dies_while_it_scores_is_said_at_once(short_path: Path) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        await client.score(matrix(1))
        asked = asyncio.ensure_future(client.score(matrix(2, 500.0)))
        await asyncio.sleep(0.01)
        for conversation in server._conversations:
            conversation._transport.abort()  # as the kernel does for a process that is killed
        with pytest.raises(RunnerUnavailable, match="hung up"):
            async with asyncio.timeout(1):
                await asked

    run(short_path, test, later(0.05), timeout_s=60)


def test_runner_that_ends_answers_what_it_works_on(short_path: Path) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        asked = asyncio.ensure_future(client.score(matrix(2)))
        await asyncio.sleep(0.02)
        await server.close()
        assert (await asked).tolist() == [3, 12]
        await server.unused(0)

    run(short_path, test, later(0.05))


@pytest.mark.parametrize("rows", [0, MAX_ROWS + 1, 2**32 - 1])
def test_caller_who_asks_for_rows_that_it_has_no_room_for_is_hung_up_on(short_path: Path, rows: int) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        _, name = shared_rows.create(short_path, WIDTH, MAX_ROWS)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(name + U32.pack(rows))
        assert await reader.read() == b""
        writer.close()

    run(short_path, test)


@pytest.mark.parametrize("answer", [b"\0\0", b"\7", b"HTTP/1.1 400 Bad Request"])
def test_whoever_answers_otherwise_is_no_runner(short_path: Path, answer: bytes) -> None:
    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(NAME_BYTES + U32.size)
        writer.write(answer)
        await reader.read()
        writer.close()

    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        other = await asyncio.start_unix_server(stranger, short_path / "other")
        asking = ChannelClient(short_path / "other", WIDTH, MAX_ROWS, timeout_s=60)
        with pytest.raises(RunnerUnavailable, match="hung up"):
            async with asyncio.timeout(2):
                await asking.score(matrix(2))
        asking.close()
        other.close()

    run(short_path, test)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OK, None),
        (FAILED + U32.pack(0), ""),
        (FAILED + U32.pack(1) + b"x", "x"),
        (FAILED + U32.pack(1) + b"\xff", "\ufffd"),
    ],
)
def test_whoever_says_more_than_its_answer_is_hung_up_on(short_path: Path, answer: bytes, reason: str | None) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        answered, hung_up = asyncio.Event(), asyncio.Event()

        async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(NAME_BYTES + U32.size)
            writer.write(answer)
            await answered.wait()
            writer.write(OK)
            with suppress(ConnectionResetError):
                await reader.read()
            hung_up.set()
            writer.close()

        other = await asyncio.start_unix_server(stranger, short_path / "other")
        asking = ChannelClient(short_path / "other", WIDTH, MAX_ROWS, timeout_s=2)
        if reason is None:
            assert len(await asking.score(matrix(2))) == 2
        else:
            with pytest.raises(ModelFailed) as failed:
                await asking.score(matrix(2))
            assert failed.value.reason == reason
        answered.set()
        async with asyncio.timeout(2):
            await hung_up.wait()
        asking.close()
        other.close()

    run(short_path, test)


def test_many_bytes_of_a_failure_arrive_whole(short_path: Path) -> None:
    def fail(matrix: Matrix) -> Scores:
        raise ModelFailed(len(matrix), "∅" * 50_000)

    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        with pytest.raises(ModelFailed) as told:
            await client.score(matrix(2))
        assert told.value.reason == "∅" * 50_000

    run(short_path, test, fail)
