"""A runner that is not there, goes away or says nothing: the caller is told which, and in time."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from ranker.errors import RunnerUnavailable
from ranker.scoring.channel.client import ChannelClient
from ranker.scoring.channel.server import ChannelServer
from ranker.vectors.rows import Matrix, Scores
from tests.unit.scoring.channel.test_client import MAX_ROWS, WIDTH, later, matrix, run


def test_runner_is_reachable_while_it_listens_and_while_it_is_connected(short_path: Path) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        assert not await ChannelClient(short_path / "none", WIDTH, MAX_ROWS, timeout_s=2).reachable()
        assert await client.reachable()
        await client.score(matrix(1))
        os.unlink(path)  # what is connected needs no name
        assert await client.reachable()

    run(short_path, test)


def test_runner_that_is_not_there_is_said_at_once_and_sought_again_by_the_next_call(short_path: Path) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        asking = ChannelClient(short_path / "none", WIDTH, MAX_ROWS, timeout_s=60)
        for _ in range(2):
            with pytest.raises(RunnerUnavailable, match=r": FileNotFoundError: "):
                async with asyncio.timeout(2):
                    await asking.score(matrix(1))
        asking.close()

    run(short_path, test)


def test_task_that_connects_has_a_name_to_be_told_by(short_path: Path) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        client.begin(matrix(1))
        assert "runner channel" in {task.get_name() for task in asyncio.all_tasks()}

    run(short_path, test)


def test_call_that_is_out_while_the_channel_is_closed_is_told_so_and_nothing_is_logged(
    short_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        await client.score(matrix(1))
        call = client.begin(matrix(2))
        client.close()
        with pytest.raises(RunnerUnavailable, match=r": the connection was closed\.$"):
            call.result()
        await server.unused(2)

    run(short_path, test, later(0.01))
    assert caplog.records == []


def test_runner_that_hangs_up_is_told_from_one_whose_connection_breaks(short_path: Path) -> None:
    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        loop = asyncio.get_running_loop()
        for unread, said in ((False, r": it hung up\.$"), (True, r": ConnectionResetError: ")):
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(str(short_path / f"other-{unread}"))
                listening.listen()
                listening.setblocking(False)
                asking = ChannelClient(short_path / f"other-{unread}", WIDTH, MAX_ROWS, timeout_s=60)
                asked = asyncio.ensure_future(asking.score(matrix(1)))
                peer, _ = await loop.sock_accept(listening)
                await loop.sock_recv(peer, 1 if unread else 1024)  # what is left unread breaks the connection
                peer.close()
                with pytest.raises(RunnerUnavailable, match=said):
                    await asked
                asking.close()

    run(short_path, test)


def test_runner_that_falls_silent_is_given_up_in_time_though_it_answered_before(short_path: Path) -> None:
    silent: list[asyncio.Future[Scores]] = []

    def score_once(matrix: Matrix) -> Scores | asyncio.Future[Scores]:
        if len(matrix) == 1:
            return later(0.1)(matrix)  # so that the next call is late well after this one would be
        silent.append(asyncio.get_running_loop().create_future())
        return silent[0]

    async def test(client: ChannelClient, server: ChannelServer, path: Path) -> None:
        await client.score(matrix(1))
        try:
            with pytest.raises(RunnerUnavailable, match="no answer in 500 ms"):
                async with asyncio.timeout(2):
                    await client.score(matrix(2))
        finally:
            silent[0].cancel()

    run(short_path, test, score_once, timeout_s=0.5)
