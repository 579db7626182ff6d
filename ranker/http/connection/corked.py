"""Corked answer (the idea of TCP_CORK): its head waits for the first of its body, so both are one packet.

uvicorn writes the one after the other, which is two system calls and two packets here, and two reads for the caller.
Owns when bytes go out; knows nothing of what they say.
"""

from __future__ import annotations

from asyncio import Transport
from typing import Protocol


class Answered(Protocol):
    """The request that is answered."""

    response_started: bool
    """Whether the head was made; what is written before is an interim answer, "100 Continue"."""
    transport: Transport


class Corked:
    """Transport of one answer until its head is gone, in place of the connection's own.

    Then the request writes to the transport itself. It must not keep this, or the two would hold each other, and be
    garbage that only the collector finds.

    Args:
        transport: Where it goes.
        request: Whose answer it is; a body must follow its head, if an empty one.
    """

    __slots__ = ("_head", "_request", "_transport")

    def __init__(self, transport: Transport, request: Answered) -> None:
        self._transport = transport
        self._request = request
        self._head = b""

    def write(self, data: bytes) -> None:
        """Keep the head, and send it with what follows."""
        if not self._request.response_started:
            self._transport.write(data)
        elif not self._head:
            self._head = data
        else:
            self._request.transport = self._transport
            self._transport.write(self._head + data)

    def is_closing(self) -> bool:
        """Say whether the connection ends."""
        return self._transport.is_closing()

    def close(self) -> None:
        """End the connection; what made no body has still sent its head."""
        self._request.transport = self._transport
        if self._head:
            self._transport.write(self._head)
        self._transport.close()
