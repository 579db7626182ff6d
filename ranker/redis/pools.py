"""Connection pools: redis-py's, for the server that a URL names, or for the primary that Sentinels name.

Connections have no timeouts and no retries of their own, for whoever uses them has one bound over a whole exchange.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from ranker.redis.sentinels import Primary
from ranker.redis.url import parse
from ranker.redis.wire.entra import Handed, Login, make_login
from ranker.redis.wire.parsing import take_any_error
from ranker.redis.wire.tls import share_context
from ranker.redis.wire.url_options import read_options


def make_pool(
    url: str, *, protocol: int, connect_timeout_s: float | None = None, primary: Primary | None = None
) -> ConnectionPool:
    """Return a pool that makes connections, of RESP 2 or 3 whatever the URL asks for.

    Args:
        url: As `redis.url` has it.
        protocol: 2 or 3.
        connect_timeout_s: The bound on one attempt to connect, in seconds; None where whoever connects has one.
        primary: Who says where the primary is, where the URL names Sentinels; one of its own when None.

    Raises:
        ValueError: The URL is none, or has an option that redis-py does not take.
        EntraPackageMissing: It asks for what is not installed.
    """
    options: dict[str, Any] = {
        "socket_timeout": None,
        "socket_connect_timeout": connect_timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "driver_info": None,  # some proxies hang up on CLIENT SETINFO
    }
    address = parse(url)
    if address.kind != "sentinel":
        pool = ConnectionPool.from_url(address.url, **options)
    else:
        pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]  # untyped in redis-py
            address.service, primary or Primary(address), **options | read_options(address.url)
        )
    pool.connection_kwargs["protocol"] = protocol
    if address.auth is not None:
        pool.connection_kwargs["credential_provider"] = make_login(address.auth)
    return pool


def new_connection(pool: ConnectionPool) -> AbstractConnection:
    """Return a connection that is not open yet, and knows what it is given to log in with."""
    connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]  # untyped in redis-py
    if isinstance(connection.credential_provider, Login):
        connection.credential_provider = Handed(connection.credential_provider)
    share_context(connection)
    take_any_error(connection)
    return connection


async def hang_up(connection: AbstractConnection) -> None:
    """Close a connection that may be in any state, whatever that makes redis-py raise."""
    with suppress(Exception):
        await connection.disconnect(nowait=True)


def take_renewal(connection: AbstractConnection) -> tuple[str, ...] | None:
    """Return the AUTH that an open connection needs, because its credentials expire; None for most."""
    provider = connection.credential_provider
    return provider.take_renewal() if isinstance(provider, Handed) else None
