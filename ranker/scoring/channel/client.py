"""Channel client: an API worker's end of the way to the runner; a round is one call, with no task or timer of its own.

Owns the connection, made anew by the next call when it is lost, and the bound on a call. How rows travel `shared_rows`
says; who asks, and what becomes of a failure, others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

from ranker.errors import ModelFailed, RunnerUnavailable
from ranker.process import background
from ranker.scoring.channel import shared_rows
from ranker.scoring.channel.call import ChannelCall
from ranker.scoring.channel.shared_rows import FAILED, OK, U32, SharedRows, SplitWidths
from ranker.vectors.rows import Matrix, Scores, SplitRows


class ChannelClient:
    """A scorer over the runner's socket.

    Args:
        path: The runner's socket.
        width: The number of columns of a row: F, or for a split model the prepared ones.
        max_rows: The most rows of one call.
        timeout_s: The bound on one call, connecting included, in seconds.
        split: What else a split model's calls bring; None for a whole one.
    """

    def __init__(
        self, path: Path, width: int, max_rows: int, *, timeout_s: float, split: SplitWidths | None = None
    ) -> None:
        self._path = path
        self._create = partial(shared_rows.create, path.parent, width, max_rows, split)
        self._timeout_s = timeout_s
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._call: ChannelCall | None = None
        self._watch: asyncio.TimerHandle | None = None
        """One timer for all calls: it looks at the one that is out when it fires."""

    def begin(self, rows: Matrix | SplitRows, *, alone: bool = False) -> ChannelCall:
        """Have the runner score a matrix (n, F), or a split model's rows, `max_rows` at most; one call at a time.

        `alone` says that no other request waits here, so that the runner may use more threads. `result` raises:
            RunnerUnavailable: the runner is not there, went away, or did not answer within the bound.
            ModelFailed: the model raised, with what it raised there.
        """
        if self._call is not None:
            raise RuntimeError("the runner has a call of this channel already")
        loop = asyncio.get_running_loop()
        call = self._call = ChannelCall(rows, loop.time() + self._timeout_s, self.close)
        if self._watch is None:
            self._watch = loop.call_at(call.deadline, self._look)
        if self._connection is not None:
            self._connection.send(rows, alone=alone)
        elif self._connecting is None:
            self._connecting = background.once("runner channel", self._connect())
        return call

    async def score(self, rows: Matrix | SplitRows) -> Scores:
        """Have rows scored, and wait for it; raises as a call's `result` does."""
        over, call = asyncio.Event(), self.begin(rows)
        call.add_done_callback(lambda _: over.set())
        try:
            await over.wait()
        finally:
            call.cancel()  # nothing when it is over
        return call.result()

    async def reachable(self) -> bool:
        """Say whether the runner listens; it need not be quick."""
        if self._connection is not None:
            return True
        try:
            async with asyncio.timeout(self._timeout_s):
                _, writer = await asyncio.open_unix_connection(self._path)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    def close(self) -> None:
        """Hang up; the call that is out, if any, is told."""
        self._end(RunnerUnavailable("the connection was closed"))
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def _connect(self) -> None:
        """Connect, and send the call that waits for it."""
        try:
            loop = asyncio.get_running_loop()
            connection = _Connection(self._answered, self._lost)
            await loop.create_unix_connection(lambda: connection, str(self._path))
            connection.share(self._create)
        except OSError as err:
            self._connecting = None
            self._end(RunnerUnavailable(f"{type(err).__name__}: {err}"))
            return
        self._connecting, self._connection = None, connection
        if self._call is not None:
            connection.send(self._call.rows)

    def _answered(self, outcome: Scores | BaseException) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.end(outcome)

    def _lost(self, connection: _Connection, err: Exception | None) -> None:
        if connection is self._connection:
            self._end(RunnerUnavailable("it hung up" if err is None else f"{type(err).__name__}: {err}"))

    def _end(self, err: RunnerUnavailable) -> None:
        """Hang up: the runner may yet write into the memory, so the next call gets other memory."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._connection is not None:
            self._connection.hang_up()
            self._connection = None
        self._answered(err)

    def _look(self) -> None:
        """End a call that is late; look again when the one that is out would be."""
        self._watch = None
        if self._call is None:
            return
        loop = asyncio.get_running_loop()
        if self._call.deadline <= loop.time():
            self._end(RunnerUnavailable(f"no answer in {self._timeout_s * 1000:g} ms"))
        else:
            self._watch = loop.call_at(self._call.deadline, self._look)


class _Connection(asyncio.BufferedProtocol):
    """One connection, and the memory that goes with it.

    Args:
        answered: Told each call's scores, or what the model raised.
        lost: Told that there will be no more.
    """

    def __init__(
        self,
        answered: Callable[[Scores | ModelFailed], None],
        lost: Callable[[_Connection, Exception | None], None],
    ) -> None:
        self._answered = answered
        self._lost = lost
        self._room = memoryview(bytearray(4096))
        self._rows = 0
        """Of the call that is out; 0 for none."""
        self._received = b""
        """Of the answer to it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(self, exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room

    def share(self, create: Callable[[], tuple[SharedRows, bytes]]) -> None:
        """Make memory, and tell the runner of it.

        Raises:
            OSError: there is no room for it, or the runner has hung up.
        """
        if self._transport.is_closing():
            raise ConnectionResetError("it hung up")
        try:
            self._shared, name = create()
        except OSError:
            self.hang_up()
            raise
        self._transport.write(name)

    def send(self, rows: Matrix | SplitRows, *, alone: bool = False) -> None:
        """Send one call."""
        self._rows = len(rows)
        self._transport.write(self._shared.write(rows, alone=alone))

    def buffer_updated(self, nbytes: int) -> None:
        rows, self._received = self._rows, self._received + self._room[:nbytes]
        if rows and self._received == OK:
            self._received, self._rows = b"", 0
            self._answered(self._shared.scores[:rows].copy())
        elif rows and self._received.startswith(FAILED):
            head = 1 + U32.size
            if len(self._received) >= head and len(self._received) == head + U32.unpack_from(self._received, 1)[0]:
                message, self._received, self._rows = self._received[head:].decode(errors="replace"), b"", 0
                self._answered(ModelFailed(rows, message))
        else:
            self._transport.abort()  # that answers nothing

    def hang_up(self) -> None:
        """End the connection; nobody is told."""
        self._lost = lambda *_: None
        self._transport.abort()
