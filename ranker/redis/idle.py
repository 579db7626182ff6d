"""Idle connections to one server, and which of them are not to be used again.

Owns the keeping of connections; opens none, and knows nothing of what is sent on them.
"""

from __future__ import annotations

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from ranker.redis.pools import hang_up


class Idle:
    """Open connections that nobody uses.

    Attributes:
        era: What is opened in it may be kept; `open_anew` begins another one.
        outdated: Those that are not used again, and still open.
    """

    def __init__(self) -> None:
        self._idle: list[AbstractConnection] = []
        self.outdated: list[AbstractConnection] = []
        self.era = 0

    def take(self) -> AbstractConnection | None:
        """Return one that is open, if there is any."""
        return self._idle.pop() if self._idle else None

    def put_back(self, connection: AbstractConnection, era: int) -> None:
        """Keep one that was taken or opened in an era, unless that is over."""
        (self._idle if era == self.era else self.outdated).append(connection)

    def open_anew(self) -> None:
        """Have none of the connections used again that are open now, in use or not."""
        self.era += 1
        self.outdated += self._idle
        self._idle = []

    async def hang_up(self) -> None:
        """Close all that nobody uses."""
        self.outdated += self._idle
        self._idle = []
        await self.close_outdated()

    @property
    def any_usable(self) -> bool:
        """Whether there is one for `take`."""
        return bool(self._idle)

    async def any_closed(self) -> bool:
        """Return whether one is no good any more: closed by the other side, or sent what nobody asked for."""
        opened = (*self._idle, *self.outdated)
        return any([await _is_closed(connection) for connection in opened if connection.is_connected])

    async def close_outdated(self) -> None:
        """Close those that are not used again."""
        outdated, self.outdated = self.outdated, []
        for connection in outdated:
            await hang_up(connection)


async def _is_closed(connection: AbstractConnection) -> bool:
    try:
        return await connection.can_read()
    except RedisConnectionError:
        return True
