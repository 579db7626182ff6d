"""What Redis says has changed: server-assisted invalidation on a connection of its own.

`CLIENT TRACKING ON BCAST PREFIX …` (https://redis.io/docs/latest/develop/reference/client-side-caching/) has the server
push the name of every changed key that begins with a prefix. Broadcast mode needs no link to the connections that
read, and no table of keys on the server. Owns the connection and its repair; what an invalidation means is the
listener's business.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from ranker.pools import make_pool, new_connection, renewal
from ranker.sentinels import Primary, wrong_primary
from ranker.slots import HashSlots

logger = logging.getLogger("ranker.tracking")

HEARTBEAT_S = 1.0
"""A silent connection is asked this often whether it lives, and given as long to answer."""
FIRST_RETRY_S, LONGEST_RETRY_S = 0.05, 0.5
REFUSALS = ("ERR", "NOPERM", "NOPROTO")
"""The error codes of a server that does not offer tracking. Others, such as BUSY and MOVED, are trouble that passes."""
REFUSED_RETRY_S = 30.0
"""A server that does not offer tracking is asked again so often, for rights can be given and servers replaced."""


class Listener(Protocol):
    """Who is told what changed."""

    def tracking_began(self, slots: HashSlots | None = None) -> None:
        """From now on every change is announced: in these slots of a Cluster; None: of one server, in all."""

    def tracking_lost(self, slots: HashSlots | None = None) -> None:
        """Changes may have gone unannounced, in these slots."""

    def changed(self, keys: Sequence[bytes] | None) -> None:
        """These keys changed; None: any may have (FLUSHALL)."""


class Tracks(Protocol):
    """What keeps a listener informed."""

    async def run(self) -> None:
        """Do so until cancelled."""


class Tracking:
    """Keeps a tracking connection to one Redis, and tells the listener.

    Args:
        url: Of one server, or of Sentinels that name it (`ranker.address`).
        prefixes: Announce the keys that begin with one of these.
        listener: Who is told.
        on_refused: Called once, with the reason, when the server does not offer tracking. A server that did offer it
            and now refuses is in trouble: nothing is kept until it offers it again, for what its users count on is
            that changes are seen.
        timeout_s: The bound on connecting, in seconds.
        primary: Who says where the primary is, where the URL names Sentinels, and is kept up to date.
    """

    def __init__(
        self,
        url: str,
        prefixes: Sequence[str],
        listener: Listener,
        on_refused: Callable[[str], None],
        *,
        timeout_s: float,
        primary: Primary | None = None,
    ) -> None:
        # Pushes exist in RESP3 only.
        self._pool = make_pool(url, protocol=3, connect_timeout_s=timeout_s, primary=primary)
        self._primary = primary
        self._prefixes = _without_covered(prefixes)
        self._listener = listener
        self._on_refused = on_refused
        self._timeout_s = timeout_s

    async def run(self) -> None:
        """Track until cancelled."""
        retry_s = FIRST_RETRY_S
        offered = refused = False
        while True:
            connection = new_connection(self._pool)
            try:
                async with asyncio.timeout(self._timeout_s):
                    await connection.connect()  # type: ignore[no-untyped-call]  # untyped in redis-py
                    await self._arm(connection)
                self._listener.tracking_began()
                offered, refused = True, False
                retry_s = FIRST_RETRY_S
                try:
                    await self._listen(connection)
                finally:
                    self._listener.tracking_lost()
            except (RedisError, OSError) as err:
                said = f"{getattr(err, 'status_code', None) or ''} {err}".strip() or type(err).__name__
                if isinstance(err, ResponseError) and said.startswith(REFUSALS) and not offered:
                    if not refused:
                        self._on_refused(said)
                    refused = True
                elif retry_s == FIRST_RETRY_S:  # once an outage
                    logger.warning("The invalidation connection is down (%s); trying again", said)
            finally:
                await connection.disconnect(nowait=True)
            # Jitter, so that the workers of a fleet do not all come back in the same moment.
            await asyncio.sleep((REFUSED_RETRY_S if refused else retry_s) * random.uniform(0.5, 1.0))
            retry_s = min(retry_s * 2, LONGEST_RETRY_S)

    async def _arm(self, connection: AbstractConnection) -> None:
        parser: Any = connection._parser
        parser.set_invalidation_push_handler(self._on_push)
        words = [word for prefix in self._prefixes for word in ("PREFIX", prefix)]
        await connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", *words)
        await connection.read_response()

    async def _listen(self, connection: AbstractConnection) -> None:
        asked = False
        while True:
            if (former := wrong_primary(self._primary, connection)) is not None:
                raise RedisConnectionError(former)
            if (login := renewal(connection)) is not None:  # its answer is read below, as that of PING is
                await connection.send_command(*login, check_health=False)
            reply = await connection.read_response(timeout=HEARTBEAT_S, disconnect_on_error=False, push_request=True)
            if reply is not None:  # a push, or the answer to PING
                asked = False
            elif asked:
                raise RedisConnectionError(f"silent for {2 * HEARTBEAT_S:g} s")
            else:
                await connection.send_command("PING", check_health=False)
                asked = True

    async def _on_push(self, message: Sequence[object]) -> Sequence[object]:
        keys = message[1]
        self._listener.changed(keys if isinstance(keys, list) else None)
        return message


def _without_covered(prefixes: Sequence[str]) -> list[str]:
    """Drop prefixes that begin with another one: Redis refuses overlaps. An empty prefix means every key."""
    kept: list[str] = []
    for prefix in sorted(set(prefixes)):
        if not any(prefix.startswith(k) for k in kept):
            kept.append(prefix)
    return [] if kept == [""] else kept
