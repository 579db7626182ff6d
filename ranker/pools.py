"""What makes connections: redis-py, for the server that a URL names, or for the primary that Sentinels name.

Connections have no timeouts and no retries of their own, for whoever uses them has one bound over a whole exchange.
Sentinels are all asked at a time, so one that hangs costs nothing; redis-py's own discovery asks one after another.
"""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig
from redis.utils import str_if_bytes

from ranker.address import Address, Host, parse


def make_pool(url: str, *, protocol: int, connect_timeout_s: float | None = None) -> ConnectionPool:
    """Return what makes connections, of RESP 2 or 3 whatever the URL asks for.

    Raises:
        ValueError: The URL is none, or has an option that redis-py does not take.
    """
    options: dict[str, Any] = {
        "socket_timeout": None,
        "socket_connect_timeout": connect_timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    address = parse(url)
    if address.kind != "sentinel":
        pool = ConnectionPool.from_url(address.url, **options)
    else:
        parsed: dict[str, Any] = {**options, **parse_url(address.url)}
        secure = issubclass(parsed.pop("connection_class", object), SSLConnection)
        for name in ("host", "port"):
            parsed.pop(name)
        pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
            address.service, Discovery(address), ssl=secure, **parsed
        )
    pool.connection_kwargs["protocol"] = protocol
    return pool


class Discovery:
    """Asks Sentinels where a primary is; stands where redis-py expects its own `Sentinel`.

    Args:
        address: Of kind `sentinel`.
    """

    def __init__(self, address: Address) -> None:
        parsed: dict[str, Any] = dict(parse_url(address.url))
        tls = {name: value for name, value in parsed.items() if name.startswith("ssl_")}
        secure = issubclass(parsed.get("connection_class", object), SSLConnection)
        self._options: dict[str, Any] = {
            "retry": Retry(NoBackoff(), 0),
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
            "protocol": 2,
            **address.sentinel_options,
            **({"ssl": True, **tls} if secure else {}),
        }
        self._hosts = address.hosts
        self._where = address.where

    async def discover_master(self, service: str) -> Host:
        """Return the primary's address, as the first Sentinel to know it says.

        Raises:
            ConnectionError: redis-py's; none knows it.
        """
        tasks = [asyncio.create_task(self._ask(host, service)) for host in self._hosts]
        said = "none answers"
        try:
            for answer in asyncio.as_completed(tasks):
                try:
                    found = await answer
                except (RedisError, OSError) as err:
                    said = str(err) or type(err).__name__
                else:
                    if found is not None:
                        return found
                    said = f"no primary is called {service}"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        raise RedisConnectionError(f"{self._where} name no primary: {said}")

    async def _ask(self, host: Host, service: str) -> Host | None:
        # A connection for each question: they are rare, and a Sentinel is not kept busy by who does not ask.
        async with Redis(host=host[0], port=host[1], **self._options) as client:
            found: Any = await client.execute_command(  # type: ignore[no-untyped-call]
                "SENTINEL GET-MASTER-ADDR-BY-NAME", service
            )
        return None if found is None else (str_if_bytes(found[0]), int(found[1]))
