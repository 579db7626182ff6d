"""A split model's rounds over the channel: they arrive as they were sent, or the caller is hung up on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from ranker.errors import RunnerUnavailable
from ranker.scoring.channel import shared_rows
from ranker.scoring.channel.client import ChannelClient
from ranker.scoring.channel.server import ChannelServer
from ranker.scoring.channel.shared_rows import SplitWidths
from ranker.vectors.rows import Scores, SplitRows

WIDTH, MAX_ROWS = 4, 30
WIDTHS = SplitWidths(3, 2)


def rows(*counts: int, pair: bool = True) -> SplitRows:
    rng = np.random.default_rng(sum(counts))
    requests, prepared, brought = (
        rng.standard_normal((n, width)).astype(np.float32)
        for n, width in ((len(counts), 3), (sum(counts), 9), (sum(counts), 2))
    )
    prepared[0, -WIDTH:].view(np.uint32)[:] = 0x7F800001  # bits that are no number; a copy must not change them
    return SplitRows(requests, prepared[:, -WIDTH:], brought if pair else None, np.array(counts))


class Runner:
    """What scores at the other end, and what it was given."""

    def __init__(self) -> None:
        self.given: list[SplitRows] = []

    def begin(self, given: SplitRows) -> Scores:
        pair = None if given.pair is None else given.pair.copy()
        self.given.append(SplitRows(given.requests.copy(), given.prepared.copy(), pair, given.counts))
        return np.arange(len(given), dtype=np.float32)


def run(
    short_path: Path,
    test: Callable[[ChannelClient, Runner, Path], Awaitable[None]],
    widths: SplitWidths = WIDTHS,
) -> None:
    async def bounded() -> None:
        path, runner = short_path / "runner.rows", Runner()
        server = ChannelServer(runner.begin, WIDTH, MAX_ROWS, widths)
        await server.open(path)
        client = ChannelClient(path, WIDTH, MAX_ROWS, timeout_s=2, split=widths)
        try:
            async with asyncio.timeout(10):
                await test(client, runner, path)
        finally:
            client.close()
            await server.close()

    asyncio.run(bounded())


def test_rounds_arrive_as_they_are_sent(short_path: Path) -> None:
    async def test(client: ChannelClient, runner: Runner, path: Path) -> None:
        for counts in ((1,), (7,), (3, 1, 9), (1,) * MAX_ROWS, (MAX_ROWS,), (2, 2)):
            sent = rows(*counts)
            assert (await client.score(sent)).tolist() == list(range(sum(counts)))
            given = runner.given[-1]
            np.testing.assert_array_equal(given.requests, sent.requests)
            np.testing.assert_array_equal(given.prepared.view(np.uint32), sent.prepared.view(np.uint32))
            np.testing.assert_array_equal(given.pair, sent.pair)
            assert given.counts.tolist() == list(counts)
            assert given.counts.dtype == np.int64

    run(short_path, test)


def test_requests_that_bring_nothing_for_their_products_arrive_without(short_path: Path) -> None:
    async def test(client: ChannelClient, runner: Runner, path: Path) -> None:
        await client.score(rows(2, 3, pair=False))
        assert runner.given[-1].pair is None

    run(short_path, test, SplitWidths(3, 0))


@pytest.mark.parametrize(
    ("announced", "counts"),
    [((5, 2), (2, 2)), ((5, 2), (5, 0)), ((5, 2), (6, -1)), ((31, 1), (31,)), ((5, 0), ()), ((2, 3), (1, 1, 0))],
)
def test_requests_whose_rows_are_not_all_that_there_are_are_hung_up_on(
    short_path: Path, announced: tuple[int, int], counts: tuple[int, ...]
) -> None:
    async def test(client: ChannelClient, runner: Runner, path: Path) -> None:
        memory, name = shared_rows.create(short_path, WIDTH, MAX_ROWS, WIDTHS)
        memory._counts[: len(counts)] = counts
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(name + shared_rows._TWO.pack(*announced))
        assert await reader.read() == b""
        assert runner.given == []
        writer.close()

    run(short_path, test)


def test_memory_has_room_for_counts_rows_and_scores_and_for_nothing_else(tmp_path: Path) -> None:
    _, name = shared_rows.create(tmp_path, WIDTH, MAX_ROWS, WIDTHS)
    a_row = 8 + 4 * (WIDTH + 1 + WIDTHS.request + WIDTHS.pair)
    assert (tmp_path / name.rstrip(b"\0").decode()).stat().st_size == MAX_ROWS * a_row


@pytest.mark.parametrize("split", [None, SplitWidths(3, 1), SplitWidths(4, 1)])
def test_caller_with_rows_of_another_form_is_hung_up_on(short_path: Path, split: SplitWidths | None) -> None:
    async def test(client: ChannelClient, runner: Runner, path: Path) -> None:
        width = WIDTH + 2 + 3 + 2 if split is None else WIDTH  # as many bytes, but not the same
        stranger = ChannelClient(path, width, MAX_ROWS, timeout_s=2, split=split)
        sent = np.zeros((2, width), np.float32)
        given = sent if split is None else SplitRows(sent[:1, : split.request], sent, sent[:, :1], np.array([2]))
        with pytest.raises(RunnerUnavailable, match=r"hung up|reset|Broken"):
            await stranger.score(given)
        assert runner.given == []
        stranger.close()

    run(short_path, test)
