"""Loopback measurement: what an application costs behind uvicorn, set up as BentoML does, asked by another process.

The server's event loop runs in the measuring thread, so what that thread spends is an API worker's, and what the
process' other threads spend is the runner's. Owns sockets and processes; knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import subprocess  # nosec B404  # runs client.py beside this file, and nothing else
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, thread_time
from typing import Protocol

import uvicorn  # comes with BentoML
from starlette.types import Message, Receive, Scope, Send

from ranker.http.connection.holdings import Holdings
from ranker.http.connection.lane import Lane
from ranker.http.connection.protocol import BoundedProtocol

ROUNDS = 9
"""Rounds of a measurement: their median tells what is usual, where other work disturbs some."""
IN_FLIGHT = 64
"""Requests under way at a time: the server always has something to do, and merges. It is the cost near saturation; with
4 in flight a request costs half as much again."""
ROUND_ANSWERS = 20
"""Answers of a round at least; a slow model takes longer than planned for them."""
ROUND_LIMIT_S = 1.0
STOP_S = 2.0
READ_TIMEOUT_S = 10.0


class Served(Protocol):
    """An ASGI app that keeps its last error, and the lane that its connections have beside it."""

    @property
    def lane(self) -> Lane | None:
        """The lane; None where there is none."""

    @property
    def failure(self) -> BaseException | None:
        """The last error that kept it from answering."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


@dataclass(frozen=True, slots=True)
class Exchanged:
    """CPU microseconds of one exchange, and the size of its body both ways.

    Attributes:
        loop_us: Of the thread that the server's event loop runs in.
        other_us: Of all other threads.
    """

    loop_us: float
    other_us: float
    bytes: int


async def measure(served: Served, bodies: Sequence[bytes], budget_s: float) -> Exchanged:
    """Have the bodies answered in turn, for about `budget_s` seconds; with a slow model for 10 s at most.

    Raises:
        OSError: no socket can be had, or the server does not answer as it should.
        Exception: the failure that kept it from answering.
    """
    counted = _Counted(served)
    async with _serving(counted) as port:
        with _client(port, bodies) as client:

            async def ask(seconds: float, answers: int) -> tuple[float, float] | None:
                """Let it ask so long and so often; return the microseconds of each answer, by whom they were spent."""
                started, before = perf_counter(), (counted.answers, thread_time(), process_time())
                while (passed := perf_counter() - started) < seconds or counted.answers - before[0] < answers:
                    if client.poll() is not None:
                        raise served.failure or ConnectionError("the server did not answer as it should")
                    if passed > ROUND_LIMIT_S:
                        break
                    await asyncio.sleep(seconds)
                done, loop_s = counted.answers - before[0], thread_time() - before[1]
                others_s = max(0.0, process_time() - before[2] - loop_s)
                return (loop_s / done * 1e6, others_s / done * 1e6) if done else None

            await ask(budget_s / ROUNDS, 2 * IN_FLIGHT)  # what is done for the first time is not typical
            rounds = [one for _ in range(ROUNDS) if (one := await ask(budget_s / ROUNDS, ROUND_ANSWERS))]
    if not rounds:
        raise TimeoutError(f"no answer in {ROUNDS * ROUND_LIMIT_S:g} s")
    loop_us, other_us = (median(column) for column in zip(*rounds, strict=True))
    asked = sum(map(len, bodies)) / len(bodies)
    return Exchanged(loop_us, other_us, round(asked + counted.bytes / counted.answers))


class _Counted:
    """ASGI app around the one that is served; counts its responses and their bytes, and those of its lane."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.answers = self.bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counting(message: Message) -> None:
            self.bytes += len(message.get("body", b""))
            await send(message)

        await self._served(scope, receive, counting)
        self.answers += 1

    def protocol(self) -> type[BoundedProtocol]:
        """Return a connection as an API worker has it."""
        counted = self

        class Connection(BoundedProtocol):
            timeout_s = READ_TIMEOUT_S
            keep_alive_s = 3600.0
            holdings = Holdings(max_bytes=1 << 30, max_connections=10_000, max_descriptor=1 << 30)
            lane = counted._served.lane

            def respond(self, data: bytes) -> None:
                super().respond(data)
                counted.answers += 1
                counted.bytes += len(data) - data.find(b"\r\n\r\n") - 4

        return Connection


@contextlib.asynccontextmanager
async def _serving(app: _Counted) -> AsyncIterator[int]:
    """Serve on a free port of loopback within the block."""
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    # asyncio's own loop, as `ranker.service` has it.
    config = uvicorn.Config(
        app, http=app.protocol(), loop="asyncio", log_config=None, access_log=False, lifespan="off", server_header=False
    )
    server = uvicorn.Server(config)
    # With the protocol named, asyncio switches Nagle's algorithm off; or answers would wait 40 ms for acknowledgements.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(IN_FLIGHT)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            await task


@contextlib.contextmanager
def _client(port: int, bodies: Sequence[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Have another process ask within the block."""
    with tempfile.TemporaryFile() as asked:
        asked.write(b"\n".join(bodies))
        asked.seek(0)
        program = str(Path(__file__).with_name("client.py"))
        client = subprocess.Popen(  # nosec B603  # no shell, and no argument that a user gives
            [sys.executable, "-I", "-S", program, str(port), str(IN_FLIGHT)], stdin=asked, stderr=subprocess.DEVNULL
        )
        try:
            yield client
        finally:
            client.kill()
            client.wait(STOP_S)
