"""First question to a server: whether it answers, and what it is.

It is a small one, so it is given little time: nobody answers a TLS handshake where TLS is not spoken.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redis import ConnectionPool, Redis
from redis.exceptions import RedisError, ResponseError

from ranker.redis.url import Address

FIRST_TIMEOUTS: dict[str, Any] = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0, "protocol": 2}


def knock(address: Address, options: dict[str, Any]) -> None:
    """Have any of a Cluster's nodes answer, for redis-py would wait long for each."""
    for last, (host, port) in zip((*[False] * (len(address.hosts) - 1), True), address.hosts, strict=True):
        try:
            with Redis.from_pool(ConnectionPool(**options | {"host": host, "port": port})) as node:
                node.ping()
            return
        except (RedisError, OSError):
            if last:
                raise


def mode_of(hello: Any) -> str:
    """Return `standalone`, `cluster` or `sentinel`."""
    pairs: Iterable[tuple[Any, Any]] = (
        hello.items() if isinstance(hello, dict) else zip(hello[::2], hello[1::2], strict=True)
    )
    for name, value in pairs:
        if name in (b"mode", "mode"):
            return value.decode() if isinstance(value, bytes) else str(value)
    return "standalone"


def mode_of_old_server(err: ResponseError) -> str:
    """Take a server that does not know HELLO for a single one; raise anything else."""
    if "unknown command" in str(err).lower():
        return "standalone"
    raise err
