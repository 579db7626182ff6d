"""A proxy between Ranker and Redis that does to the conversation what networks and broken servers do."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Self

CHUNK = 1 << 16
DRIP_S = 0.01
"""A throttled reply comes in a piece each so often."""
GARBAGE = b"\xff"
"""No reply of Redis begins with it."""


@dataclass(frozen=True)
class Fault:
    """What happens to every conversation, new and old; as made, nothing.

    Attributes:
        refuse: New connections are closed at once.
        hang: Requests are held until the fault is over.
        delay_s: Each piece of a reply waits so long.
        bytes_per_s: Replies come this slowly.
        cut_after: A reply ends after so many bytes, and the connection with it.
        garbage: Replies are replaced, from the next request on.
        answer: Requests are answered with this, and reach no server.
    """

    refuse: bool = False
    hang: bool = False
    delay_s: float = 0.0
    bytes_per_s: float | None = None
    cut_after: int | None = None
    garbage: bool = False
    answer: bytes | None = None


HEALTHY = Fault()


class FaultProxy:
    """Listens on a port of its own and speaks to the server behind `target`.

    Args:
        target: The unix socket of a server; may be changed at any time, as a failover does.
        context: Where given, callers speak TLS.

    Attributes:
        fault: What happens now; set it at any time.
        accepted: Connections so far.
        requests: Pieces that callers sent so far.
    """

    def __init__(self, target: str, context: ssl.SSLContext | None = None) -> None:
        self.target = target
        self.accepted = self.requests = 0
        self._context = context
        self._fault = HEALTHY
        self._conversations: set[asyncio.Task[None]] = set()

    @property
    def fault(self) -> Fault:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._fault = fault
        self._over.set()
        self._over = asyncio.Event()

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"redis{'s' if self._context else ''}://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Cut all connections."""
        for conversation in self._conversations:
            conversation.cancel()

    async def __aenter__(self) -> Self:
        self._over = asyncio.Event()
        self._server = await asyncio.start_server(self._converse, "127.0.0.1", 0, ssl=self._context)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        self.accepted += 1
        onward: asyncio.StreamWriter | None = None
        try:
            if self.fault.refuse:
                return
            replies, onward = await asyncio.open_unix_connection(self.target)
            conversation = _Conversation(self, writer)
            pumps = [
                asyncio.create_task(conversation.requests(reader, onward)),
                asyncio.create_task(conversation.replies(replies)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # there is no server, or the conversation was cut
        finally:
            for end in (writer, onward):
                if end is not None:
                    end.transport.abort()
            self._conversations.discard(task)

    async def healed(self) -> None:
        """Wait until requests are no longer held."""
        while self.fault.hang:
            await self._over.wait()


class _Conversation:
    """One caller's connection."""

    def __init__(self, proxy: FaultProxy, caller: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._caller = caller
        self._garbled = False

    async def requests(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            self._proxy.requests += 1
            await self._proxy.healed()
            fault = self._proxy.fault
            # Not in the middle of a reply, for there nobody could tell garbage from another vector.
            self._garbled = self._garbled or fault.garbage
            if fault.answer is not None:
                self._caller.write(fault.answer)
            else:
                server.write(data)
                await server.drain()

    async def replies(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(CHUNK):
            fault = self._proxy.fault
            await self._proxy.healed()
            await asyncio.sleep(fault.delay_s)
            if self._garbled:
                data = GARBAGE * len(data)
            if fault.cut_after is not None:
                self._caller.write(data[: fault.cut_after])
                return
            step = CHUNK if fault.bytes_per_s is None else max(1, int(fault.bytes_per_s * DRIP_S))
            for start in range(0, len(data), step):
                self._caller.write(data[start : start + step])
                await self._caller.drain()
                if fault.bytes_per_s is not None:
                    await asyncio.sleep(DRIP_S)
