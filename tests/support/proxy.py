"""A proxy between Ranker and Redis that does to the conversation what networks and broken servers do."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

Side = Literal["all", "reading", "listening"]
"""Which connections are meant: those that read, the one that listens to what changed, or all."""

CHUNK = 1 << 16
DRIP_S = 0.01
"""A throttled reply comes in a piece each so often."""
RESP3 = b"\r\nHELLO\r\n$1\r\n3\r\n"
"""The connection that listens begins with it, and no other does."""
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
        mangle: They are replaced by this, each piece of them, from the next request on.
        on: The connections that it happens to: those that read, the one that listens, or all.
        answer: Requests are answered with this, and reach no server.
    """

    refuse: bool = False
    hang: bool = False
    delay_s: float = 0.0
    bytes_per_s: float | None = None
    cut_after: int | None = None
    garbage: bool = False
    mangle: bytes | None = None
    answer: bytes | None = None
    on: Side = "all"


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
        unknown: What a connection ends at, as of a proxy that does not know a command.
        instead: What requests with these words in them are answered with, where no fault says otherwise.
    """

    def __init__(self, target: str, context: ssl.SSLContext | None = None) -> None:
        self.target = target
        self.accepted = self.requests = 0
        self.unknown: bytes | None = None
        self.instead: dict[bytes, bytes] = {}
        self._context = context
        self._fault = HEALTHY
        self._conversations: dict[asyncio.Task[None], _Conversation] = {}

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

    def cut(self, on: Side = "all") -> None:
        """Cut connections."""
        for task, conversation in self._conversations.items():
            if conversation.is_meant(on):
                task.cancel()

    def inject(self, data: bytes, on: Side = "all") -> None:
        """Send callers what the server did not."""
        for conversation in self._conversations.values():
            if conversation.is_meant(on):
                conversation.send(data)

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
        conversation = self._conversations[task] = _Conversation(self, writer)
        self.accepted += 1
        onward: asyncio.StreamWriter | None = None
        try:
            if self.fault.refuse:
                return
            replies, onward = await asyncio.open_unix_connection(self.target)
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
            del self._conversations[task]

    async def changed(self) -> None:
        """Wait until another fault is set."""
        await self._over.wait()


class _Conversation:
    """One caller's connection."""

    def __init__(self, proxy: FaultProxy, caller: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._caller = caller
        self._garbled: bytes | None = None
        self._listens = False

    def is_meant(self, on: Side) -> bool:
        return on == "all" or self._listens == (on == "listening")

    def send(self, data: bytes) -> None:
        self._caller.write(data)

    @property
    def _fault(self) -> Fault:
        """What happens here now."""
        fault = self._proxy.fault
        return fault if self.is_meant(fault.on) else HEALTHY

    async def requests(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            self._proxy.requests += 1
            self._listens = self._listens or RESP3 in data
            if self._proxy.unknown is not None and self._proxy.unknown in data:
                return
            await self._released()
            fault = self._fault
            # Not in the middle of a reply, for there nobody could tell garbage from another vector.
            self._garbled = self._garbled or (GARBAGE if fault.garbage else fault.mangle)
            instead = next((answer for words, answer in self._proxy.instead.items() if words in data), None)
            if fault.answer is not None:
                self._caller.write(fault.answer)
            elif instead is not None:
                self._caller.write(instead if self._garbled is None else self._garbled)
            else:
                server.write(data)
                await server.drain()

    async def replies(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(CHUNK):
            fault = self._fault
            await self._released()
            await asyncio.sleep(fault.delay_s)
            if self._garbled is not None:
                data = GARBAGE * len(data) if self._garbled is GARBAGE else self._garbled
            if fault.cut_after is not None:
                self._caller.write(data[: fault.cut_after])
                return
            await self._pour(data)

    async def _pour(self, data: bytes) -> None:
        """Hand over as quickly as the fault of the moment lets it."""
        while data:
            rate = self._fault.bytes_per_s
            step = CHUNK if rate is None else max(1, int(rate * DRIP_S))
            self._caller.write(data[:step])
            await self._caller.drain()
            data = data[step:]
            if rate is not None:
                await asyncio.sleep(DRIP_S)

    async def _released(self) -> None:
        """Wait until nothing is held."""
        while self._fault.hang:
            await self._proxy.changed()
