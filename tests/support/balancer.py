"""A load balancer in a hundred lines, for rolling restarts: health checks, and another try where none was begun.

Like haproxy with `option httpchk GET /readyz` and `retry-on conn-failure`: a request that a backend has accepted is not
sent to another.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Self

CHECK_S = 0.1
CHECK_TIMEOUT_S = 2.0
TRIES = 50
CHECK = b"GET /readyz HTTP/1.1\r\nHost: balancer\r\nConnection: close\r\n\r\n"


class Balancer:
    """Forwards requests, one to a connection, to whichever of the ports is ready, in turn; within a `with` block."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._ready: dict[int, bool] = dict.fromkeys(ports, False)
        self._turn = count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def ready(self, port: int) -> bool:
        """Say whether the last check of a backend went well."""
        return self._ready[port]

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._checks = [asyncio.create_task(self._check(port)) for port in self._ports]

    async def _stop(self) -> None:
        self._server.close()
        for task in (others := asyncio.all_tasks() - {asyncio.current_task()}):
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _check(self, port: int) -> None:
        while True:
            status = b""
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(CHECK_TIMEOUT_S):
                    status = (await self._ask(port, CHECK))[9:12]
            self._ready[port] = status == b"200"
            await asyncio.sleep(CHECK_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            request = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + await reader.readexactly(length)
            for _ in range(TRIES):
                candidates = [port for port in self._ports if self._ready[port]]
                if not candidates:
                    await asyncio.sleep(CHECK_S)
                    continue
                with suppress(ConnectionRefusedError):
                    writer.write(await self._ask(candidates[next(self._turn) % len(candidates)], request))
                    break
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the caller sees a cut connection
        finally:
            writer.close()

    @staticmethod
    async def _ask(port: int, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.close()
