"""Channel server: the runner's end of the way from an API worker; scores rows where they lie in shared memory.

BentoML's own way from service to service is an HTTP request with a pickled body through the whole stack of the
receiving service; for a model that scores a hundred rows in a fraction of a millisecond that is most of the time. Here
the caller writes the matrix into memory that both map, and sends the number of rows over a unix socket; the runner
scores them, writes the scores behind them, and answers with a status. What a caller sends is a round already, so it is
one call of the model; a short one is answered in the turn of the event loop that it arrived in, without a task or a
future. The socket and the memory lie beside BentoML's own socket, in a directory that only this user can enter, and
nothing is unpickled.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np

from ranker.errors import ModelError, ModelFailed
from ranker.scoring.channel import shared_rows
from ranker.scoring.channel.shared_rows import FAILED, NAME_BYTES, OK, U32, SharedRows, SplitWidths
from ranker.vectors.rows import Scores

logger = logging.getLogger("ranker.channel")

HANG_UP_S = 1.0
"""Seconds that the last answers may take to be sent."""

Begin = Callable[[Any], Scores | asyncio.Future[Scores]]
"""Scores a matrix (n, F), or the `SplitRows` of a split model, at once or later: scores (n,)."""


class ChannelServer:
    """Listens for API workers.

    Args:
        begin: Scores rows; called with views into shared memory.
        width: The number of columns of a row: F, or for a split model the prepared ones.
        max_rows: The most rows of one call, as the callers have it.
        split: What else a split model's calls bring; None for a whole one.
        begin_alone: Scores the rows of a caller's only request; as others when None.
    """

    def __init__(
        self,
        begin: Begin,
        width: int,
        max_rows: int,
        split: SplitWidths | None = None,
        begin_alone: Begin | None = None,
    ) -> None:
        self._begin = begin
        self._begin_alone = begin_alone or begin
        self._width = width
        self._max_rows = max_rows
        self._split = split
        self._server: asyncio.Server | None = None
        self._conversations: set[_Conversation] = set()
        self._unused = asyncio.Event()
        self._unused.set()

    async def open(self, path: Path) -> None:
        """Listen on the socket `path`, in place of one that a predecessor left there."""
        with suppress(FileNotFoundError):
            os.unlink(path)

        def take(padded_name: bytes) -> SharedRows:
            return shared_rows.take(path.parent, padded_name, self._width, self._max_rows, self._split)

        def accept() -> _Conversation:
            return _Conversation(self._begin, self._begin_alone, take, self._count)

        self._server = await asyncio.get_running_loop().create_unix_server(accept, path)

    async def unused(self, within_s: float) -> None:
        """Wait until no caller is connected, for so many seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._unused.wait()

    async def close(self) -> None:
        """Stop listening; calls in progress are answered first."""
        if self._server is not None:
            self._server.close()
        calls = [each.call for each in self._conversations if each.call is not None]
        await asyncio.gather(*calls, return_exceptions=True)
        for conversation in tuple(self._conversations):
            conversation.hang_up()
        await self.unused(HANG_UP_S)

    def _count(self, conversation: _Conversation, *, connected: bool) -> None:
        (self._conversations.add if connected else self._conversations.discard)(conversation)
        (self._unused.clear if self._conversations else self._unused.set)()


class _Conversation(asyncio.BufferedProtocol):
    """One caller's calls, one after another.

    Attributes:
        call: What the model works on for it, where it does not answer at once.
    """

    def __init__(
        self, begin: Begin, begin_alone: Begin, take: Callable[[bytes], SharedRows], count: Callable[..., None]
    ) -> None:
        self._begin = begin
        self._begin_alone = begin_alone
        self._take = take
        self._count = count
        self._room = memoryview(bytearray(NAME_BYTES))
        self._filled = 0
        self._shared: SharedRows | None = None
        self.call: asyncio.Future[Scores] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._count(self, connected=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._count(self, connected=False)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._filled < len(self._room):
            return
        self._filled = 0
        try:
            if self._shared is None:
                self._shared = self._take(bytes(self._room))
                self._room = self._room[: self._shared.announcement_bytes]
            else:
                self._score(self._shared, bytes(self._room))
        except (OSError, ValueError) as err:
            logger.warning("A caller of the runner's channel was hung up on: %s", err)
            self._transport.abort()

    def hang_up(self) -> None:
        """Close the connection, once what was answered is sent."""
        self._transport.close()

    def _score(self, shared: SharedRows, announcement: bytes) -> None:
        if self.call is not None:
            raise ValueError("it asked for scores before it had those of its last call")
        given = shared.read(announcement)
        rows = len(given)
        try:
            scores = (self._begin_alone if shared_rows.is_alone(announcement) else self._begin)(given)
        except Exception as err:  # whatever it is, the caller is told, or would take the runner for gone
            self._fail(rows, err)
            return
        if isinstance(scores, np.ndarray):
            self._answer(shared.scores[:rows], scores)
            return

        def answer(call: asyncio.Future[Scores]) -> None:
            self.call = None
            if call.cancelled():
                self.hang_up()
            elif (err := call.exception()) is None:
                self._answer(shared.scores[:rows], call.result())
            else:
                self._fail(rows, err)

        self.call = scores
        scores.add_done_callback(answer)

    def _answer(self, room: Scores, scores: Scores) -> None:
        try:
            room[:] = scores
        except ValueError as err:  # of another length
            self._fail(len(room), err)
        else:
            self._transport.write(OK)

    def _fail(self, rows: int, err: BaseException) -> None:
        if not isinstance(err, ModelError):
            logger.error("The model of %d rows failed unexpectedly", rows, exc_info=err)
        message = reason_of(err).encode(errors="replace")
        self._transport.write(FAILED + U32.pack(len(message)) + message)


def reason_of(err: BaseException) -> str:
    """Return what the caller's `ModelFailed` is to say."""
    if isinstance(err, ModelFailed):
        return err.reason
    return (str(err) if isinstance(err, ModelError) else f"{type(err).__name__}: {err}").rstrip(".")
