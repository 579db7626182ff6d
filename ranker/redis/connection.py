"""Redis connection: one bounded MGET (and HMGET) at a time, given up in time, and not sent to what is down.

redis-py makes and authenticates the connections (so its URLs, TLS and credentials all work); commands go out packed
by hiredis' C code and past redis-py's pool and per-read timers, which together cost more than the round trip
(redis-py packs asyncio commands in Python: redis/redis-py#4176). Owns connections; knows nothing of features.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, BusyLoadingError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from ranker.errors import StoreUnavailable
from ranker.process import background
from ranker.redis.breaker import Breaker
from ranker.redis.idle import Idle
from ranker.redis.pools import hang_up, make_pool, new_connection, take_renewal
from ranker.redis.sentinels import Primary, wrong_primary
from ranker.redis.server_identity import SameServer
from ranker.redis.url import parse
from ranker.redis.wire.failure import classify, describe, is_foreseen
from ranker.redis.wire.replies import Command, HashKey, check_reply, take_replies
from ranker.vectors.rows import Key

OPEN_TIMEOUT_S = 2.0
"""Bound on opening at the start: nobody waits, and every process of the machine may be starting too."""
PING: Command = ("PING",)


class RedisConnections:
    """At most `size` connections to one Redis, opened on demand and kept.

    Args:
        url: Of one server, or of Sentinels that name it (`redis.url`).
        size: The most connections open at a time.
        timeout_s: The bound on one call, connecting included, in seconds.

    Attributes:
        answers: Errors that are answers, beside WRONGTYPE.
        primary: Who the primary is, where the URL names Sentinels; None for one server.
        same_server: What keeps these connections, and the one that listens for changes, at one server.
        where: Host and port, or the socket's path: the URL without what is secret in it.
        breaker: Refuses reads from the first that fails until Redis answers a probe.
        opened: Connections opened so far.
        failures: Failed calls so far, probes included, by `Failure`.
    """

    answers: ClassVar[tuple[type[ResponseError], ...]] = ()

    def __init__(self, url: str, *, size: int, timeout_s: float) -> None:
        address = parse(url)
        self.primary = Primary(address) if address.kind == "sentinel" else None
        self._pool = make_pool(url, protocol=2, primary=self.primary)
        self.where = address.where
        self._size = size
        self._timeout_s = timeout_s
        self._idle = Idle()
        self._cut = False
        """Whether a connection was cut since the last one was opened."""
        self._watching: asyncio.Task[None] | None = None
        self._free = asyncio.Semaphore(size)
        self._closed = False
        self._question = PING
        self._surprises = background.Surprises("exchange")
        self.same_server = SameServer(self)
        self.breaker = Breaker(f"Redis at {self.where}", self._probe)
        self.opened = 0
        self.failures: Counter[str] = Counter()

    async def mget(self, keys: Sequence[Key]) -> list[bytes | None]:
        """Return the values of n keys in order; None where there is no such key, or it is no string.

        Raises:
            StoreUnavailable: Redis cannot be reached, refuses, or does not answer within the bound; or it did so a
                moment ago, and no probe was answered since.
        """
        (reply,) = await self._ask(("MGET", *keys))
        values: list[bytes | None] = reply
        return values

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
        replies = await self._ask(*mget, *(("HMGET", key, *fields) for key, fields in hashes))
        found = [[] if isinstance(reply, ResponseError) else reply for reply in replies]
        return (found.pop(0) if strings else []), found

    async def ping(self) -> None:
        """Open a connection if none is, and have Redis answer on it.

        Raises:
            StoreUnavailable: as `mget`.
        """
        await self._call((PING,), self._timeout_s)

    async def open(self) -> None:
        """Open all connections, so that no request pays for it. Waits `OPEN_TIMEOUT_S` for each, if that is longer.

        Raises:
            StoreUnavailable: as `mget`.
        """
        if self.primary is not None and self._watching is None:
            self._watching = background.keep("sentinels", self.primary.watch)
        timeout_s = max(OPEN_TIMEOUT_S, self._timeout_s)
        await asyncio.gather(*(self._call((PING,), timeout_s) for _ in range(self._size)))

    async def close(self) -> None:
        await background.cancel(self._watching)
        self._closed = True
        await self.breaker.close()
        await self._idle.hang_up()
        if self.primary is not None:
            await self.primary.close()

    def open_anew(self) -> None:
        """Use none of the connections that are open for another call."""
        self._idle.open_anew()

    async def notice_cuts(self) -> None:
        """Open one to see where reads lead now, where the other side has closed some, or none is idle to tell by."""
        if await self._idle.any_closed():
            self._cut = True
            self.open_anew()
        elif self._idle.any_usable:
            return
        if not self.breaker.is_open:  # then a probe opens one
            with suppress(StoreUnavailable):
                await self.ping()

    async def _ask(self, *commands: Command) -> list[Any]:
        """Send commands that read, if the breaker lets them pass."""
        self.breaker.raise_if_open()
        try:
            replies = await self._call(commands, self._timeout_s)
        except StoreUnavailable as err:
            # Any of the keys, and another one at the next failure: one key may be why all fail (no permission, a huge
            # value), and must neither keep the breaker open nor let it close every time.
            command = random.choice(commands)
            self._question = ("MGET", random.choice(command[1:])) if command[0] == "MGET" else command
            self.breaker.failed(err.reason)
            raise
        self.breaker.succeeded()
        return replies

    async def _probe(self) -> None:
        try:
            await self._call((self._question,), self._timeout_s)
        except StoreUnavailable:
            self.open_anew()  # another connection may lead to a server that does not refuse
            raise
        self._surprises.over()

    async def _call(self, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        """Send commands together, and return their replies, among them WRONGTYPE errors of HMGET."""
        packed = b"".join(map(hiredis.pack_command, commands))
        async with self._free:
            if self._idle.outdated:
                await self._idle.close_outdated()
            connection, era = self._idle.take(), self._idle.era
            try:
                async with asyncio.timeout(timeout_s):
                    reused = connection is not None
                    if connection is None:
                        connection = new_connection(self._pool)
                    try:
                        replies = await self._exchange(connection, packed, len(commands))
                    except RedisConnectionError as err:
                        if not reused or isinstance(err, AuthenticationError | BusyLoadingError):
                            raise
                        # An idle connection may have died with a restarted server; a new one deserves one try.
                        self._cut = True
                        replies = await self._exchange(connection, packed, len(commands))
                    for command, reply in zip(commands, replies, strict=True):
                        check_reply(command, reply)
            except BaseException as err:  # cancellation too: a reply may be under way that nobody will read
                if connection is not None:
                    if isinstance(err, ResponseError):  # the conversation is still in step
                        self._idle.put_back(connection, era)
                    else:
                        await hang_up(connection)
                if not isinstance(err, Exception):
                    raise
                raise await self._failed(err, timeout_s) from err
            self._idle.put_back(connection, era)
            if self._closed:  # meanwhile
                await self._idle.hang_up()
            return replies

    async def _failed(self, err: Exception, timeout_s: float) -> StoreUnavailable:
        """Count a failure, and return what it is for whoever asked."""
        failure = classify(err)
        self.failures[failure] += 1
        if not is_foreseen(err):
            self._surprises.note(err)
        if failure != "refusal":  # what happened to one, such as a failover, may have happened to all
            self._cut = self._cut or failure == "connection"
            await self._idle.hang_up()
        return StoreUnavailable(describe(err, self.where, timeout_s))

    async def _exchange(self, connection: AbstractConnection, packed: bytes, count: int) -> list[Any]:
        if connection.is_connected and wrong_primary(self.primary, connection) is not None:
            await connection.disconnect(nowait=True)
        if not connection.is_connected:
            self.opened += 1
            await connection.connect()  # type: ignore[no-untyped-call]  # untyped in redis-py
            after_cut, self._cut = self._cut, False
            await self.same_server.opened(connection, after_cut=after_cut)
        elif (login := take_renewal(connection)) is not None:
            await connection.send_packed_command(hiredis.pack_command(login), check_health=False)
            await connection.read_response()
        await connection.send_packed_command(packed, check_health=False)
        replies: list[Any] = []
        refusal: ResponseError | None = None
        while len(replies) < count:  # all of them, whatever one says, or the next call would read what is left
            try:
                replies.append(await connection.read_response())
            except ResponseError as err:
                replies.append(err)
            if len(replies) < count:
                replies += take_replies(connection, count - len(replies))
        for reply in replies:
            if isinstance(reply, ResponseError) and not (
                str(reply).startswith("WRONGTYPE") or isinstance(reply, self.answers)
            ):
                refusal = reply
        if refusal is not None:
            raise refusal
        return replies
