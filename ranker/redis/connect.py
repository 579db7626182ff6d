"""Connecting: from the URL of Redis to the connections that read, and to the invalidation beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ranker.redis.cluster.connections import ClusterConnections
from ranker.redis.cluster.invalidation import ClusterTracking
from ranker.redis.connection import RedisConnections
from ranker.redis.invalidation import Listener, Tracking, Tracks
from ranker.redis.url import parse

Connections = RedisConnections | ClusterConnections
MakeTracking = Callable[[Sequence[str], Listener, Callable[[str], None]], Tracks]
"""Builder of tracking, from prefixes, the listener, and whom to tell of a refusal."""


def connect(url: str, *, size: int, timeout_s: float) -> Connections:
    """Return connections for reading, at most `size` to a server; opens none yet.

    Args:
        url: As `redis.url` has it.
        size: The most connections to one server.
        timeout_s: The bound on one call, connecting included, in seconds.

    Raises:
        ValueError: The URL is none.
    """
    address = parse(url)
    if address.kind == "cluster":
        return ClusterConnections(address, size=size, timeout_s=timeout_s)
    return RedisConnections(url, size=size, timeout_s=timeout_s)


def tracking_beside(connections: Connections, url: str, *, timeout_s: float) -> MakeTracking:
    """Return what builds the tracking of the servers that these connections read from."""
    if isinstance(connections, ClusterConnections):
        return partial(ClusterTracking, parse(url), connections.topology, timeout_s=timeout_s)
    return partial(Tracking, url, timeout_s=timeout_s, primary=connections.primary, same_server=connections.same_server)
