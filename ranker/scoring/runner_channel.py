"""Runner channel: from an API worker to the runner service; rows in shared memory, a few bytes on a unix socket.

BentoML's own way from service to service is an HTTP request with a pickled body through the whole stack of the
receiving service; for a model that scores a hundred rows in a fraction of a millisecond that is most of the time. Here
the caller maps a file, writes the matrix into it, and sends the number of rows; the runner scores them where they lie,
writes the scores behind them, and answers with a status. The socket and the file lie beside BentoML's own socket, in a
directory that only this user can enter, and nothing is unpickled.

The protocol, after connecting: the caller sends its file's name, padded to 64 bytes. Then, in turn, one call at a
time: the caller sends the number of rows (u32, little-endian) and the runner answers `OK`, or `FAILED` and, in as
many bytes as the next u32 says, what the model raised.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import struct
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from ranker.errors import ModelError, ModelFailed, RunnerUnavailable
from ranker.vectors.rows import Matrix, Scores

logger = logging.getLogger("ranker.channel")

NAME_BYTES = 64
FILE_PREFIX = "rows-"
OK, FAILED = b"\0", b"\1"
_U32 = struct.Struct("<I")


class _SharedRows:
    """Room for one matrix (max_rows, F) and its scores, mapped from a file."""

    def __init__(self, fd: int, width: int, max_rows: int, *, create: bool) -> None:
        size = max_rows * (width + 1) * 4
        if create:
            os.ftruncate(fd, size)
        elif os.fstat(fd).st_size != size:
            raise ValueError(f"the file holds {os.fstat(fd).st_size} bytes, not {size}")
        self._map = mmap.mmap(fd, size)
        values = np.frombuffer(self._map, dtype=np.float32)
        self.matrix: Matrix = values[: max_rows * width].reshape(max_rows, width)
        self.scores: Scores = values[max_rows * width :]


class ChannelServer:
    """The runner's end.

    Args:
        score: Scores a matrix; called with views into shared memory.
        width: F.
        max_rows: The most rows of one call, as the callers have it.
    """

    def __init__(self, score: Callable[[Matrix], Awaitable[Scores]], width: int, max_rows: int) -> None:
        self._score = score
        self._width = width
        self._max_rows = max_rows
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()

    async def open(self, path: Path) -> None:
        """Listen on the socket `path`, in place of one that a predecessor left there."""
        with suppress(FileNotFoundError):
            os.unlink(path)
        self._directory = path.parent
        self._server = await asyncio.start_unix_server(self._converse, path)

    async def unused(self, within_s: float) -> None:
        """Wait until no caller is connected, for so many seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._conversations:
                    await asyncio.wait(tuple(self._conversations))

    async def close(self) -> None:
        """Stop listening; calls in progress are answered first."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._conversations):
            task.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        try:
            shared = self._map((await reader.readexactly(NAME_BYTES)).rstrip(b"\0").decode())
            while True:
                (rows,) = _U32.unpack(await reader.readexactly(_U32.size))
                writer.write(await asyncio.shield(self._answer(shared, rows)))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the caller is gone, or this process is about to be
        except (OSError, ValueError) as err:
            logger.warning("A caller of the runner's channel was hung up on: %s", err)
        finally:
            self._conversations.discard(task)
            writer.close()

    def _map(self, name: str) -> _SharedRows:
        if not name.startswith(FILE_PREFIX) or "/" in name:
            raise ValueError(f"{name[:80]!r} is no name of shared rows")
        path = self._directory / name
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            return _SharedRows(fd, self._width, self._max_rows, create=False)
        finally:
            os.close(fd)
            path.unlink()

    async def _answer(self, shared: _SharedRows, rows: int) -> bytes:
        try:
            shared.scores[:rows] = await self._score(shared.matrix[:rows])
        except Exception as err:  # whatever it is, the caller is told, or would take the runner for gone
            if not isinstance(err, ModelError):
                logger.exception("The model of %d rows failed unexpectedly", rows)
            message = _reason(err).encode(errors="replace")
            return FAILED + _U32.pack(len(message)) + message
        return OK


class ChannelClient:
    """An API worker's end: a scorer over the runner's socket. One call at a time.

    Args:
        path: The runner's socket.
        width: F.
        max_rows: The most rows of one call.
        timeout_s: The bound on one call, connecting included, in seconds.
    """

    def __init__(self, path: Path, width: int, max_rows: int, *, timeout_s: float) -> None:
        self._path = path
        self._width = width
        self._max_rows = max_rows
        self._timeout_s = timeout_s
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter, _SharedRows] | None = None

    async def score(self, matrix: Matrix) -> Scores:
        """Have the runner score a matrix (n, F), n at most `max_rows`; return (n,).

        Raises:
            RunnerUnavailable: it is not there, went away, or did not answer within the bound.
            ModelFailed: the model raised, with what it raised there.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer, shared = self._open or await self._connect()
                rows = len(matrix)
                shared.matrix[:rows] = matrix
                writer.write(_U32.pack(rows))
                status = await reader.readexactly(1)
                if status == OK:
                    return shared.scores[:rows].copy()
                (size,) = _U32.unpack(await reader.readexactly(_U32.size))
                message = (await reader.readexactly(size)).decode()
        except BaseException as err:
            self.close()  # the runner may yet write into the memory, so the next call gets other memory
            if isinstance(err, TimeoutError):
                raise RunnerUnavailable(f"no answer in {self._timeout_s * 1000:g} ms") from None
            if isinstance(err, asyncio.IncompleteReadError | OSError):
                raise RunnerUnavailable(f"{type(err).__name__}: {err}") from err
            raise
        raise ModelFailed(rows, message)

    async def reachable(self) -> bool:
        """Say whether the runner listens; it need not be quick."""
        if self._open is not None and not self._open[0].at_eof():
            return True
        try:
            async with asyncio.timeout(self._timeout_s):
                _, writer = await asyncio.open_unix_connection(self._path)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    def close(self) -> None:
        """Hang up."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, _SharedRows]:
        reader, writer = await asyncio.open_unix_connection(self._path)
        fd, name = tempfile.mkstemp(prefix=FILE_PREFIX, dir=self._path.parent)
        try:
            shared = _SharedRows(fd, self._width, self._max_rows, create=True)
        finally:
            os.close(fd)
        writer.write(Path(name).name.encode().ljust(NAME_BYTES, b"\0"))
        self._open = reader, writer, shared
        return self._open


def _reason(err: Exception) -> str:
    """Return what the caller's `ModelFailed` is to say."""
    if isinstance(err, ModelFailed):
        return err.reason
    return (str(err) if isinstance(err, ModelError) else f"{type(err).__name__}: {err}").rstrip(".")
