"""Connections that leave some keys unread, as those to a Cluster do while one of its nodes does not answer."""

from __future__ import annotations

from collections.abc import Sequence

from ranker.redis.connect import Connections, connect
from ranker.vectors.rows import Key, Unread

REASON = "a node is down"


def without(url: str, prefix: str) -> Connections:
    """Make such connections to one server, which read every key but those that begin with the prefix."""
    connections = connect(url, size=2, timeout_s=10)
    read = connections.mget

    async def mget(keys: Sequence[Key]) -> list[bytes | Unread | None]:
        values = zip(keys, await read(keys), strict=True)
        return [Unread(REASON) if str(key).startswith(prefix) else value for key, value in values]

    connections.mget = mget  # type: ignore[method-assign,assignment]  # as a Cluster's, which says what is unread
    return connections
