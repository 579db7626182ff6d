"""Mode detection: whether anybody answers, and whether that is one server, a node of a Cluster or a Sentinel (HELLO).

The first question is a small one, so it is given little time: nobody answers a TLS handshake where TLS is not spoken.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError, ResponseError
from redis.retry import Retry

from ranker.redis.url import Address

FIRST_TIMEOUTS: dict[str, Any] = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0, "protocol": 2}


def ping_any(address: Address, options: dict[str, Any]) -> None:
    """Have any of a Cluster's nodes answer, for redis-py would wait long for each."""
    for last, (host, port) in zip((*[False] * (len(address.hosts) - 1), True), address.hosts, strict=True):
        try:
            with Redis.from_pool(ConnectionPool(**options | {"host": host, "port": port})) as node:
                node.ping()
            return
        except (RedisError, OSError):
            if last:
                raise


def ask_mode(options: dict[str, Any]) -> str:
    """Return `standalone`, `cluster` or `sentinel`; asks first whether anybody answers at all.

    Older servers and proxies do not know HELLO, say so in words of their own (Envoy: `unsupported command 'HELLO'`) or
    hang up on it (twemproxy): each of them is used as one server.

    Args:
        options: Of connections, with `retry` for a server that is just being started.

    Raises:
        RedisError, OSError: nobody answers, or the user may not ask.
    """
    # An error is an answer, too: a Sentinel's user may have no right to it.
    with Redis.from_pool(ConnectionPool(**options)) as asking, suppress(ResponseError):
        asking.ping()
    with Redis.from_pool(ConnectionPool(**options | {"retry": Retry(NoBackoff(), 0)})) as asking:
        try:
            return mode_of(asking.execute_command("HELLO"))
        except NoPermissionError:
            raise
        except (ResponseError, RedisConnectionError):
            return "standalone"


def mode_of(hello: Any) -> str:
    """Return what HELLO's answer says of the mode."""
    pairs: Iterable[tuple[Any, Any]] = (
        hello.items() if isinstance(hello, dict) else zip(hello[::2], hello[1::2], strict=True)
    )
    for name, value in pairs:
        if name in (b"mode", "mode"):
            return value.decode() if isinstance(value, bytes) else str(value)
    return "standalone"
