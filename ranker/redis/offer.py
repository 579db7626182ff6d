"""Offer of tracking: whether a server has CLIENT TRACKING, a refusal told from trouble that passes.

A server says so in Redis' words. Proxies do not: Envoy answers HELLO and CLIENT with `unsupported command 'HELLO'`, and
with `NOAUTH` although they bring a password; twemproxy hangs up on them. So where an attempt fails again and again
before tracking began, and a plain connection is answered all the same, tracking is what is refused. Owns that
judgement; the attempts are `invalidation`'s.
"""

from __future__ import annotations

import asyncio

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ranker.redis.pools import hang_up, make_pool, new_connection
from ranker.redis.sentinels import Primary

REFUSALS = ("ERR", "NOPERM", "NOPROTO")
"""The error codes of a server that does not offer tracking. Others, such as BUSY and MOVED, are trouble that passes."""
TURNED_AWAY = 3
"""Attempts in a row that fail otherwise, before it is looked whether a plain connection fares better."""


class Offer:
    """Offer of tracking by one server, as far as it is known.

    Args:
        url: As for `Tracking`.
        timeout_s: The bound on asking by a plain connection, in seconds.
        primary: As for `Tracking`.

    Attributes:
        refusal: What the server, or what is before it, said to an attempt; None while nobody refuses.
    """

    def __init__(self, url: str, *, timeout_s: float, primary: Primary | None) -> None:
        self._pool = make_pool(url, protocol=2, connect_timeout_s=timeout_s, primary=primary)
        self._timeout_s = timeout_s
        self._kept = False
        self._turned_away = 0
        self.refusal: str | None = None

    def taken_up(self) -> None:
        """Note that tracking began. Whoever then refuses it is in trouble."""
        self._kept, self.refusal, self._turned_away = True, None, 0

    @property
    def is_open(self) -> bool:
        """Whether an attempt that failed may have been refused, and it is too early to tell."""
        return not self._kept and 0 < self._turned_away < TURNED_AWAY

    async def failed(self, err: Exception, reason: str) -> None:
        """Note that an attempt failed before tracking began, and with which words."""
        if self._kept or self.refusal is not None:
            return
        if isinstance(err, TimeoutError | RedisTimeoutError):
            self._turned_away = 0
        elif isinstance(err, ResponseError) and reason.startswith(REFUSALS):
            self.refusal = reason
        else:
            self._turned_away += 1
            if self._turned_away >= TURNED_AWAY and await self._answers():
                self.refusal = reason

    async def _answers(self) -> bool:
        """Return whether a connection as readers have it is answered."""
        connection: AbstractConnection | None = None
        try:
            connection = new_connection(self._pool)  # which reads the files of TLS
            async with asyncio.timeout(self._timeout_s):
                await connection.connect()  # type: ignore[no-untyped-call]  # untyped in redis-py
                await connection.send_command("PING", check_health=False)
                await connection.read_response()
        except Exception:  # whatever it is, it is no answer
            return False
        finally:
            if connection is not None:
                await hang_up(connection)
        return True
