"""Server-assisted invalidation (CLIENT TRACKING): the keys that Redis says have changed, on a connection of its own.

`CLIENT TRACKING ON BCAST PREFIX …` (https://redis.io/docs/latest/develop/reference/client-side-caching/) has the server
push the name of every changed key that begins with a prefix. Broadcast mode needs no link to the connections that
read, and no table of keys on the server. Owns the connection, its heartbeat and its repair; what an invalidation means
is the listener's business.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

from ranker.process.background import Surprises
from ranker.process.log_limit import Seldom
from ranker.redis.hash_slots import HashSlots
from ranker.redis.heartbeat import COMMANDSTATS, Heartbeat
from ranker.redis.offer import Offer
from ranker.redis.pools import hang_up, make_pool, new_connection, take_renewal
from ranker.redis.sentinels import Primary, wrong_primary
from ranker.redis.server_identity import INFO_SERVER, SameServer, read_run_id
from ranker.redis.wire.failure import is_foreseen

logger = logging.getLogger("ranker.tracking")

FIRST_RETRY_S, LONGEST_RETRY_S = 0.05, 0.5
ASKED_IN_VAIN = 3
"""Connections lost by asking, at most: a proxy may hang up on a command that it does not know."""
STEADY_S = 5.0
"""Seconds after which a connection is well: when it is lost, the next one is tried soon."""
REPORT_INTERVAL_S = 10.0
"""Interval at which the loss of the connection is logged, at most."""
REFUSED_RETRY_S = 30.0
"""Interval at which a server without tracking is asked again, for rights can be given and servers replaced."""


class Listener(Protocol):
    """Listener that is told which keys changed."""

    def tracking_began(self, slots: HashSlots | None = None) -> None:
        """From now on every change is announced: in these slots of a Cluster; None: of one server, in all."""

    def tracking_lost(self, slots: HashSlots | None = None) -> None:
        """Changes may have gone unannounced, in these slots."""

    def changed(self, keys: Sequence[bytes] | None) -> None:
        """These keys changed; None: any may have (FLUSHALL)."""


class Tracks(Protocol):
    """Tracking connection, or several: keeps a listener informed."""

    async def run(self) -> None:
        """Do so until cancelled."""


class Tracking:
    """Keeps a tracking connection to one Redis, and tells the listener.

    Args:
        url: Of one server, or of Sentinels that name it (`redis.url`).
        prefixes: Announce the keys that begin with one of these.
        listener: Who is told.
        on_refused: Called once, with the reason, when the server does not offer tracking. A server that did offer it
            and now refuses is in trouble: nothing is kept until it offers it again, for what its users count on is
            that changes are seen.
        timeout_s: The bound on connecting, in seconds.
        primary: Who says where the primary is, where the URL names Sentinels, and is kept up to date.
        same_server: Those who read what this connection tells about; None where nobody does.
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
        same_server: SameServer | None = None,
    ) -> None:
        # Pushes exist in RESP3 only.
        self._pool = make_pool(url, protocol=3, connect_timeout_s=timeout_s, primary=primary)
        self._primary = primary
        self._same_server = same_server
        self._prefixes = _without_covered(prefixes)
        self._listener = listener
        self._on_refused = on_refused
        self._timeout_s = timeout_s
        self._offer = Offer(url, timeout_s=timeout_s, primary=primary)
        self._asking = False
        """Whether the last connection ended at INFO."""
        self._lost_by_asking = 0
        """Connections that did, in a row."""
        self._surprises = Surprises("tracking")
        self._reports = Seldom(REPORT_INTERVAL_S)
        self._reported = False
        """Whether this outage was logged."""

    async def run(self) -> None:
        """Track until cancelled."""
        clock = asyncio.get_running_loop().time
        retry_s = FIRST_RETRY_S
        while True:
            began = clock()
            try:
                await self._track()
            except Exception as err:  # whatever it is, without announcements nothing can be kept
                await self._failed(err)
            if clock() - began >= STEADY_S:
                retry_s = FIRST_RETRY_S
            # Jitter, so that the workers of a fleet do not all come back in the same moment.
            await asyncio.sleep(
                (REFUSED_RETRY_S if self._offer.refusal is not None else retry_s) * random.uniform(0.5, 1.0)
            )
            retry_s = min(retry_s * 2, LONGEST_RETRY_S)

    async def _failed(self, err: Exception) -> None:
        reason = f"{getattr(err, 'status_code', None) or ''} {err}".strip() or type(err).__name__
        if not is_foreseen(err):
            self._surprises.note(err)
        if self._offer.refusal is not None:
            return
        if not self._asking:  # INFO is not needed
            await self._offer.failed(err, reason)
        if self._offer.refusal is not None:
            self._on_refused(self._offer.refusal)
        elif not self._reported and not self._offer.is_open and self._reports.due():
            self._reported = True
            logger.warning("The invalidation connection is down (%s); trying again", reason)

    async def _track(self) -> None:
        """Track until something fails.

        Raises:
            RedisError, OSError: it did; what redis-py stumbles over may be anything else.
        """
        connection = new_connection(self._pool)
        self._asking = False
        try:
            async with asyncio.timeout(self._timeout_s):
                await connection.connect()  # type: ignore[no-untyped-call]  # untyped in redis-py
                run_id = await self._run_id(connection)
                stats = None if run_id is None else await self._commandstats(connection)
                await self._arm(connection)
            self._offer.taken_up()
            self._reported = False
            self._surprises.over()
            try:
                self._listener.tracking_began()
                async with asyncio.timeout(None) as bound:
                    if self._same_server is not None:
                        self._same_server.listening(run_id, partial(self._stop_listening, bound))
                    await self._listen(connection, Heartbeat(asyncio.get_running_loop().time, stats))
            except TimeoutError as err:
                if bound.expired():
                    raise RedisConnectionError("reads lead to another server than announcements") from err
                raise
            finally:
                if self._same_server is not None:
                    self._same_server.stopped_listening()
                self._listener.tracking_lost()
        finally:
            await hang_up(connection)

    def _stop_listening(self, bound: asyncio.Timeout) -> None:
        """Listen no more, at once: reads lead elsewhere."""
        self._listener.tracking_lost()
        bound.reschedule(0)

    async def _run_id(self, connection: AbstractConnection) -> bytes | None:
        """Return the server's id; None where nobody wants to know, or it is not told."""
        if self._same_server is None or self._lost_by_asking >= ASKED_IN_VAIN:
            return None
        self._asking = True
        self._lost_by_asking += 1
        await connection.send_command(*INFO_SERVER)
        run_id = await read_run_id(connection)
        self._asking, self._lost_by_asking = False, 0
        return run_id

    async def _commandstats(self, connection: AbstractConnection) -> object:
        await connection.send_command(*COMMANDSTATS)
        return await connection.read_response()

    async def _arm(self, connection: AbstractConnection) -> None:
        parser: Any = connection._parser
        parser.set_invalidation_push_handler(_pass_on)
        words = [word for prefix in self._prefixes for word in ("PREFIX", prefix)]
        await connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", *words)
        await connection.read_response()

    async def _listen(self, connection: AbstractConnection, heartbeat: Heartbeat) -> None:
        """Pass on what is announced, while the heartbeat is answered."""
        while True:
            if (former := wrong_primary(self._primary, connection)) is not None:
                raise RedisConnectionError(former)
            if (login := take_renewal(connection)) is not None:
                await connection.send_command(*login, check_health=False)
                heartbeat.asked(login)
            if (question := heartbeat.question()) is not None:
                await connection.send_command(*question, check_health=False)
                if self._same_server is not None:
                    self._same_server.look()
            reply = await connection.read_response(
                timeout=heartbeat.rest_s, disconnect_on_error=False, push_request=True
            )
            if isinstance(reply, hiredis.PushNotification):
                self._announced(reply)
            elif reply is not None and heartbeat.answered(reply):
                self._listener.changed(None)

    def _announced(self, message: Sequence[object]) -> None:
        """Take an announcement; `InvalidResponse` where it is none, for one may have been lost in it."""
        kind, keys = message if len(message) == 2 else (None, None)
        if kind != b"invalidate":
            raise InvalidResponse("an announcement of no kind")
        if keys is not None and not (type(keys) is list and all(type(key) is bytes for key in keys)):
            raise InvalidResponse("an announcement that names no keys")
        self._listener.changed(keys)


async def _pass_on(message: Sequence[object]) -> Sequence[object]:
    """Have redis-py return an announcement: what its handler raises it would log, and go on as if all were well."""
    return message


def _without_covered(prefixes: Sequence[str]) -> list[str]:
    """Drop prefixes that begin with another one: Redis refuses overlaps. An empty prefix means every key."""
    kept: list[str] = []
    for prefix in sorted(set(prefixes)):
        if not any(prefix.startswith(k) for k in kept):
            kept.append(prefix)
    return [] if kept == [""] else kept
