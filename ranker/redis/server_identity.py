"""Server identity: whether the readers and the listener are at one server, behind an address that may lead to several.

A balancer or a virtual address that fails over may cut some connections and keep others. Then changes would be
announced by a server that nobody reads, and what is cached would be old until its time to live is over. Each server has
a `run_id` (INFO), so every new connection says where it leads; where INFO is refused, a connection that was cut counts
as a sign. Owns that comparison; the connections are `connection`'s and `invalidation`'s.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Protocol

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from ranker.process import background

INFO_SERVER = ("INFO", "server")
_RUN_ID = re.compile(rb"^run_id:(\w+)", re.MULTILINE)


class Readers(Protocol):
    """The connections that read."""

    def open_anew(self) -> None:
        """Use none of those that are open for another read."""

    async def notice_cuts(self) -> None:
        """Notice those that the other side has closed, and have one open."""


class SameServer:
    """Comparison of servers: keeps readers and a listener at the same one.

    Args:
        readers: Those who read.
    """

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._read_from: bytes | None = None
        self._heard_from: bytes | None = None
        self._listen_anew: Callable[[], None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._asks = False
        """Whether the listener was told its server's id."""

    def listening(self, run_id: bytes | None, listen_anew: Callable[[], None]) -> None:
        """Note that changes are announced from now on.

        Args:
            run_id: By which server; None where it does not say.
            listen_anew: Called, once at most, when reads turn out to lead to another server.
        """
        self._asks = run_id is not None
        self._heard_from, self._listen_anew = run_id, listen_anew
        if run_id is None or run_id != self._read_from:
            self._readers.open_anew()
            self.look()  # from now on, a reader that is cut is the only sign where no server says who it is

    def stopped_listening(self) -> None:
        """Note that nobody listens now."""
        self._listen_anew = None
        if self._looking is not None:
            self._looking.cancel()

    async def opened(self, connection: AbstractConnection, *, after_cut: bool) -> None:
        """Note that a reading connection was opened, and ask it where it leads.

        Args:
            connection: On which nothing is under way.
            after_cut: Whether one was cut before it.

        Raises:
            RedisError, OSError: the conversation failed.
        """
        run_id = None
        if self._asks:
            await connection.send_command(*INFO_SERVER, check_health=False)
            run_id = await read_run_id(connection)
        self._read_from = run_id
        apart = after_cut if run_id is None or self._heard_from is None else run_id != self._heard_from
        if not apart or self._listen_anew is None:
            return
        listen_anew, self._listen_anew = self._listen_anew, None
        listen_anew()
        self._readers.open_anew()  # others may lead to where the listener was

    def look(self) -> None:
        """Begin to notice readers that were cut, and to have one open; whoever listens calls this every second."""
        if self._looking is None or self._looking.done():
            self._looking = background.once("look", self._readers.notice_cuts())


async def read_run_id(connection: AbstractConnection) -> bytes | None:
    """Read the answer to `INFO_SERVER`; None where it is refused, or names no id.

    Raises:
        RedisError, OSError: the conversation failed.
    """
    try:
        reply = await connection.read_response()
    except ResponseError:
        return None
    found = _RUN_ID.search(reply) if isinstance(reply, bytes) else None
    return None if found is None else found[1]
