"""One bounded conversation with Redis at a time: connect, MGET (and HMGET), give up in time, reconnect.

redis-py makes and authenticates the connections (so its URLs, TLS and credentials all work); commands go out packed
by hiredis' C code and past redis-py's pool and per-read timers, which together cost more than the round trip
(redis-py packs asyncio commands in Python: redis/redis-py#4176). Owns connections; knows nothing of features.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import hiredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from ranker.encoding import Key
from ranker.errors import StoreUnavailable


class HashKey(NamedTuple):
    """A hash, and the fields of it that are wanted."""

    key: Key
    fields: tuple[str, ...]


class RedisConnections:
    """At most `size` connections to one Redis, opened on demand and kept.

    Args:
        url: Anything redis-py's `from_url` takes: `redis://`, `rediss://` or `unix://`.
        size: The most connections open at a time.
        timeout_s: The bound on one call, connecting included, in seconds.
    """

    def __init__(self, url: str, *, size: int, timeout_s: float) -> None:
        self._pool = ConnectionPool.from_url(
            url,
            protocol=2,
            # One deadline over the whole call replaces a timer around every read and write.
            socket_timeout=None,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
        self._size = size
        self._timeout_s = timeout_s
        self._idle: list[AbstractConnection] = []
        self._free = asyncio.Semaphore(size)

    @property
    def where(self) -> str:
        """Host and port, or the socket's path: the URL without what is secret in it."""
        kwargs = self._pool.connection_kwargs
        return (
            str(kwargs["path"]) if "path" in kwargs else f"{kwargs.get('host', 'localhost')}:{kwargs.get('port', 6379)}"
        )

    async def mget(self, keys: Sequence[Key]) -> list[bytes | None]:
        """Return the values of n keys in order; None where there is no such key, or it is no string.

        Raises:
            StoreUnavailable: Redis cannot be reached, refuses, or does not answer within the bound.
        """
        (reply,) = await self._call(("MGET", *keys))
        if not isinstance(reply, list):
            raise StoreUnavailable(f"MGET returned {type(reply).__name__}")
        return reply

    async def mget_and_hmget(
        self, strings: Sequence[Key], hashes: Sequence[HashKey]
    ) -> tuple[list[bytes | None], list[list[bytes | None]]]:
        """Return the values of strings, as `mget`, and of hashes their fields, in one round trip.

        Returns:
            For each hash its fields' values: None for one that it lacks, all None where there is no such key; empty
            where the key holds something else.

        Raises:
            StoreUnavailable: as `mget`.
        """
        mget: list[tuple[Key, ...]] = [("MGET", *strings)] if strings else []
        replies = await self._call(*mget, *(("HMGET", key, *fields) for key, fields in hashes))
        found = [[] if isinstance(reply, ResponseError) else reply for reply in replies]
        if not all(isinstance(reply, list) for reply in found):
            raise StoreUnavailable("MGET or HMGET returned no list")
        return (found.pop(0) if strings else []), found

    async def ping(self) -> None:
        """Open a connection if none is, and have Redis answer on it.

        Raises:
            StoreUnavailable: as `mget`.
        """
        await self._call(("PING",))

    async def open(self) -> None:
        """Open all connections, so that no request pays for it.

        Raises:
            StoreUnavailable: as `mget`.
        """
        await asyncio.gather(*(self.ping() for _ in range(self._size)))

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)

    async def _call(self, *commands: tuple[Key, ...]) -> list[Any]:
        """Send commands together, and return their replies, among them WRONGTYPE errors."""
        packed = b"".join(map(hiredis.pack_command, commands))
        async with self._free:
            reused = bool(self._idle)
            connection = self._idle.pop() if reused else self._new()
            try:
                async with asyncio.timeout(self._timeout_s):
                    try:
                        replies = await self._exchange(connection, packed, len(commands))
                    except RedisConnectionError:
                        if not reused:
                            raise
                        # An idle connection may have died with a restarted server; a new one deserves one try.
                        replies = await self._exchange(connection, packed, len(commands))
            except ResponseError as err:  # the conversation is still in step
                self._idle.append(connection)
                raise StoreUnavailable(str(err)) from err
            except BaseException as err:  # cancellation too: a reply may be under way that nobody will read
                await connection.disconnect(nowait=True)
                if isinstance(err, TimeoutError):
                    raise StoreUnavailable(f"no answer from {self.where} in {self._timeout_s * 1000:g} ms") from None
                if isinstance(err, RedisError | OSError):
                    raise StoreUnavailable(str(err)) from err
                raise
            self._idle.append(connection)
            return replies

    def _new(self) -> AbstractConnection:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        return connection

    @staticmethod
    async def _exchange(connection: AbstractConnection, packed: bytes, count: int) -> list[Any]:
        if not connection.is_connected:
            await connection.connect()  # type: ignore[no-untyped-call]
        await connection.send_packed_command(packed, check_health=False)
        replies: list[Any] = []
        refusal: ResponseError | None = None
        for _ in range(count):  # all of them, whatever one says, or the next call would read what is left
            try:
                replies.append(await connection.read_response())
            except ResponseError as err:
                replies.append(err)
                if not str(err).startswith("WRONGTYPE"):
                    refusal = err
        if refusal is not None:
            raise refusal
        return replies
