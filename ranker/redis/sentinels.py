"""Sentinel discovery: who the primary is, asked for every connection, and once a second.

All Sentinels are asked at a time, so one that hangs costs nothing; redis-py's own discovery asks one after another. Of
what a majority says, the newest configuration counts, for one that was away may still name a former primary. And a
former primary may answer as before, when it was only held up or cut off: so whoever has a connection compares it with
what is known here.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any, NamedTuple

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from ranker.process import background
from ranker.redis.url import Address, Host, format_host
from ranker.redis.wire.failure import describe
from ranker.redis.wire.parsing import take_any_error
from ranker.redis.wire.tls import share_context
from ranker.redis.wire.url_options import read_options

LOOK_S = 1.0
"""Interval at which the Sentinels are asked while connections are open."""
ANSWER_S = 2.0
"""Time that one Sentinel may take; whoever waits for the answer may have a shorter bound."""
GRACE_S = 0.1
"""Time that the others have, once one has answered, where no majority does."""


class _Named(NamedTuple):
    epoch: int
    host: Host


class Primary:
    """The primary of one service; stands where redis-py expects its own `Sentinel`.

    Args:
        address: Of kind `sentinel`.
    """

    def __init__(self, address: Address) -> None:
        options = read_options(address.sentinel_url)
        self._connection_class: type[Connection] = SSLConnection if options.pop("ssl", False) else Connection
        self._options: dict[str, Any] = {
            "retry": Retry(NoBackoff(), 0),
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
            "protocol": 2,
            "driver_info": None,
            **options,
            "socket_timeout": None,  # whoever asks has a bound
        }
        self._address = address
        self._host: Host | None = None
        self._asked = self._answered = 0
        """Times that all were asked, and which of these has told where the primary is."""
        self._questions = background.Tasks("sentinels")

    def is_at(self, connection: AbstractConnection) -> bool:
        """Return whether a connection leads to the primary, as far as is known."""
        return self._host is None or (getattr(connection, "host", None), getattr(connection, "port", 0)) == self._host

    async def watch(self) -> None:
        """Keep asking until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S * random.uniform(0.8, 1.0))
            with suppress(RedisError, OSError):  # TimeoutError is one, and whoever connects says so
                async with asyncio.timeout(LOOK_S):
                    await self.discover_master(self._address.service or "")

    async def close(self) -> None:
        """Wait for answers that nobody needs any more, `ANSWER_S` at most."""
        await self._questions.wait()

    async def discover_master(self, service: str) -> Host:
        """Return the primary's address: what is said now, or what whoever asked later was told meanwhile.

        Raises:
            ConnectionError: redis-py's; no Sentinel knows it.
        """
        asked = self._asked = self._asked + 1
        answers, trouble = await self._ask_all(service)
        if not answers:
            raise RedisConnectionError(f"{self._address.where} name no primary: {trouble}")
        if self._host is None or asked > self._answered:
            self._answered = asked
            self._host = self._address.reached(max(answers, key=lambda answer: answer.epoch).host)
        return self._host

    async def _ask_all(self, service: str) -> tuple[list[_Named], str]:
        """Return what a majority says, or as many as answer, and what was wrong with the last of the others."""
        # None is cancelled: asyncio may leave a socket open when it is torn from a TLS handshake.
        pending = {self._questions.begin(self._answer(host, service)) for host in self._address.hosts}
        answers: list[_Named] = []
        trouble = "none answers"
        while pending and len(answers) <= len(self._address.hosts) // 2:
            done, pending = await asyncio.wait(
                pending, timeout=GRACE_S if answers else None, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            for answer in (task.result() for task in done):
                if isinstance(answer, _Named):
                    answers.append(answer)
                else:
                    trouble = answer
        return answers, trouble

    async def _answer(self, host: Host, service: str) -> _Named | str:
        """Return what one says, or in words why it does not: whatever that is, the others may know."""
        try:
            return await self._ask(host, service)
        except ResponseError as err:
            return f"no primary is called {service}" if "No such master" in str(err) else str(err)
        except Exception as err:
            return describe(err, format_host(host), ANSWER_S)

    async def _ask(self, host: Host, service: str) -> _Named:
        # A connection for each question: they are few, and a Sentinel that was away is asked like the others.
        connection = self._connection_class(host=host[0], port=host[1], **self._options)
        share_context(connection)
        take_any_error(connection)
        try:
            async with asyncio.timeout(ANSWER_S):
                await connection.connect()  # type: ignore[no-untyped-call]  # untyped in redis-py
                await connection.send_command("SENTINEL", "MASTER", service)
                flat: Any = await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
        facts = dict(zip(flat[::2], flat[1::2], strict=True))
        return _Named(int(facts[b"config-epoch"]), (facts[b"ip"].decode(), int(facts[b"port"])))


def wrong_primary(primary: Primary | None, connection: AbstractConnection) -> str | None:
    """Return why an open connection is not to be used any more; None where it is."""
    if primary is None or primary.is_at(connection):
        return None
    host = (str(getattr(connection, "host", "")), int(getattr(connection, "port", 0)))
    return f"{format_host(host)} is no longer the primary"
