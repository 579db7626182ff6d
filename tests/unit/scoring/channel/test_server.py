"""The runner's end of the channel: how it ends, who it waits for, and what it says of a failure."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ranker.errors import ModelFailed, WrongShape
from ranker.scoring.channel import server as channel_server
from ranker.scoring.channel import shared_rows
from ranker.scoring.channel.client import ChannelClient
from ranker.scoring.channel.server import ChannelServer, reason_of
from ranker.scoring.channel.shared_rows import NAME_BYTES, OK, U32
from ranker.vectors.rows import Matrix, Scores
from tests.unit.scoring.channel.test_client import MAX_ROWS, WIDTH, later, matrix, run, total

WRONG = WrongShape("The output y", (2, 3), "one score for each of 2 rows")


def test_server_that_was_never_opened_is_closed_like_any_other() -> None:
    asyncio.run(ChannelServer(total, WIDTH, MAX_ROWS).close())


def test_runner_is_unused_when_the_last_caller_has_hung_up_and_waits_for_that_as_long_as_it_is_told(
    short_path: Path,
) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        other = ChannelClient(path, WIDTH, MAX_ROWS, timeout_s=2)
        await other.score(matrix(1))
        await client.score(matrix(1))
        async with asyncio.timeout(2):
            await server.unused(0.01)  # in vain
        waiting = asyncio.ensure_future(server.unused(60))
        other.close()
        await client.score(matrix(1))
        assert not waiting.done()
        client.close()
        async with asyncio.timeout(2):
            await waiting

    run(short_path, test)


def test_runner_that_ends_tells_a_failure_of_what_it_works_on_and_does_not_fail_itself(short_path: Path) -> None:
    begun = asyncio.Event()

    def begin(matrix: Matrix) -> Scores | asyncio.Future[Scores]:
        begun.set()
        return later(0.05)(matrix)

    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        asked = asyncio.ensure_future(client.score(-matrix(2, 1.0)))
        await begun.wait()
        await server.close()
        with pytest.raises(ModelFailed, match="a negative value"):
            await asked

    run(short_path, test, begin)


def test_runner_that_ends_waits_for_a_caller_that_reads_nothing_no_longer_than_it_must(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_server, "HANG_UP_S", 0.05)
    begun = asyncio.Event()

    def fail(matrix: Matrix) -> Scores:
        begun.set()
        raise ModelFailed(len(matrix), "x" * 4_000_000)  # more than a socket holds

    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        _, name = shared_rows.create(short_path, WIDTH, MAX_ROWS)
        _, writer = await asyncio.open_unix_connection(path)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(name + U32.pack(1))
        await begun.wait()
        try:
            async with asyncio.timeout(2):
                await server.close()
        finally:
            writer.transport.abort()

    run(short_path, test, fail)


def test_call_that_arrives_in_pieces_is_answered(short_path: Path) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        _, name = shared_rows.create(short_path, WIDTH, MAX_ROWS)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(name[:10])
        await client.score(matrix(1))  # which came later
        assert {conversation._filled for conversation in server._conversations} == {0, 10}
        writer.write(name[10:NAME_BYTES] + U32.pack(1))
        async with asyncio.timeout(2):
            assert await reader.readexactly(1) == OK
        writer.close()

    run(short_path, test)


def test_failure_that_nobody_foresaw_is_logged_with_the_number_of_rows_when_it_comes_later_too(
    short_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def slowly() -> Scores:
        raise MemoryError("no room")

    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        with pytest.raises(ModelFailed, match="MemoryError: no room"):
            await client.score(matrix(2))

    run(short_path, test, lambda matrix: asyncio.ensure_future(slowly()))
    assert [record.getMessage() for record in caplog.records] == ["The model of 2 rows failed unexpectedly"]


def test_reason_that_utf_8_cannot_say_is_told_as_far_as_it_can(short_path: Path) -> None:
    def fail(matrix: Matrix) -> Scores:
        raise ModelFailed(len(matrix), "a file named \udcff")

    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        with pytest.raises(ModelFailed) as told:
            await client.score(matrix(2))
        assert told.value.reason == "a file named ?"

    run(short_path, test, fail)


@pytest.mark.parametrize(
    ("err", "said"),
    [
        (ModelFailed(2, "it says so."), "it says so."),
        (WRONG, str(WRONG).removesuffix(".")),
        (MemoryError("above MAX."), "MemoryError: above MAX"),
    ],
)
def test_reason_names_the_class_of_what_was_not_foreseen_and_ends_without_a_stop(err: Exception, said: str) -> None:
    assert reason_of(err) == said
