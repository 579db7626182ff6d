"""Redis clients for tools and writers: of one server, of the primary a Sentinel names, or of a Cluster.

Which of them a URL leads to, the server itself says (HELLO, Redis 6). Owns that choice; knows nothing of features.
Requests are served through `redis.connection` instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis import ConnectionPool, Redis, RedisCluster, cluster
from redis import asyncio as redis_asyncio
from redis.asyncio import cluster as asyncio_cluster
from redis.asyncio import sentinel as asyncio_sentinel
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.connection import parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from ranker.errors import StoreUnavailable, UnusableUrl
from ranker.redis.url import Address, Host, parse
from ranker.redis.wire.entra import make_login
from ranker.redis.wire.first_question import FIRST_TIMEOUTS, ask_mode, ping_any
from ranker.redis.wire.tls import explain_error
from ranker.redis.wire.url_options import find_problem, leave_unnamed, read_options

# Each `type: ignore[no-untyped-call]` below is of a function without types in redis-py.
Client = Redis | RedisCluster
AsyncClient = redis_asyncio.Redis | redis_asyncio.RedisCluster

RETRIES = 4
"""Retries of a command, with pauses of up to a second: enough for a server that restarts, short for who waits."""
TIMEOUTS: dict[str, Any] = {"socket_timeout": 60.0, "socket_connect_timeout": 5.0}
SENTINEL_TIMEOUTS: dict[str, Any] = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0, "protocol": 2}
"""Timeouts of a Sentinel: one that hangs is passed by for the next."""
# RESP2: the same answers from every server.
OPTIONS: dict[str, Any] = {**TIMEOUTS, "protocol": 2}


def connect(url: str, sentinel_service: str | None = None) -> Client:
    """Return a client for what a URL leads to.

    Args:
        url: As `redis.url` has it; also a plain one of any node of a Cluster, or of a Sentinel.
        sentinel_service: Which of the primaries that a Sentinel watches; needed when there are several.

    Raises:
        StoreUnavailable: it does not answer, refuses, or watches no such primary.
        UnusableUrl: redis-py does not take it.
        EntraPackageMissing: it asks for what is not installed.
    """
    backoff = ExponentialBackoff(cap=1.0, base=0.1)
    options = OPTIONS | {"retry": Retry(backoff, RETRIES)}
    first = FIRST_TIMEOUTS | {"retry": Retry(backoff, RETRIES, (RedisConnectionError,))}
    address, parsed = _parsed(url)
    with translate_errors(secure=_is_secure(address)):
        if address.kind == "cluster":
            ping_any(address, parsed | first)
            return _cluster(address, options)
        if address.kind == "sentinel":
            return _primary(address, address.hosts, address.service or "", of_sentinels(address), options)
        mode = ask_mode(leave_unnamed(_without_database(parsed) | first))
        if mode == "standalone":
            return Redis.from_pool(ConnectionPool(**leave_unnamed(parsed | options)))
        if mode == "cluster":
            return _cluster(address, options)
        at, name = _of_plain_sentinel(parsed, first, sentinel_service)
        return _primary(address, (at,), name, _as_plain_sentinel(address), options)


async def connect_async(url: str, sentinel_service: str | None = None) -> AsyncClient:
    """Return an asyncio client for what a URL leads to; see `connect`."""
    backoff = ExponentialBackoff(cap=1.0, base=0.1)
    options = OPTIONS | {"retry": redis_asyncio.retry.Retry(backoff, RETRIES)}
    first = FIRST_TIMEOUTS | {"retry": Retry(backoff, RETRIES, (RedisConnectionError,))}
    address, parsed = _parsed(url)
    with translate_errors(secure=_is_secure(address)):
        if address.kind == "cluster":
            await asyncio.to_thread(ping_any, address, parsed | first)
            return await _cluster_async(address, options)
        if address.kind == "sentinel":
            return await _primary_async(address, address.hosts, address.service or "", of_sentinels(address), options)
        mode = await asyncio.to_thread(ask_mode, leave_unnamed(_without_database(parsed) | first))
        if mode == "standalone":
            of_server: dict[str, Any] = dict(redis_asyncio.connection.parse_url(address.url)) | _login(address)
            return redis_asyncio.Redis.from_pool(redis_asyncio.ConnectionPool(**leave_unnamed(of_server | options)))
        if mode == "cluster":
            return await _cluster_async(address, options)
        at, name = await asyncio.to_thread(_of_plain_sentinel, parsed, first, sentinel_service)
        return await _primary_async(address, (at,), name, _as_plain_sentinel(address), options)


async def close_async(client: AsyncClient) -> None:
    """Close a client of `connect_async`, and its connections to a Sentinel, which redis-py would leave open."""
    await client.aclose()
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for asked in manager.sentinels if manager is not None else ():
        await asked.aclose()


def primaries(client: Client) -> list[Redis]:
    """Return a plain client for each server that holds keys: one, or every primary of a Cluster."""
    if isinstance(client, Redis):
        return [client]
    return [client.get_redis_connection(node) for node in client.get_primaries()]  # type: ignore[no-untyped-call]  # redis-py's is untyped


@contextmanager
def translate_errors(*, secure: bool = False) -> Iterator[None]:
    """Turn redis-py's errors into ours; `secure` says whether TLS is spoken.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses.
    """
    try:
        yield
    except (RedisError, RedisClusterException, OSError) as err:
        reason = " ".join(str(err).split()).rstrip(".") or type(err).__name__
        raise StoreUnavailable(explain_error(reason, secure=True) if secure else reason) from err


def _parsed(url: str) -> tuple[Address, dict[str, Any]]:
    """Return a URL's parts and options; some are looked at only when a connection is made, which opens nothing yet."""
    if (wrong := find_problem(url)) is not None:
        raise UnusableUrl(wrong)
    address = parse(url)
    parsed: dict[str, Any] = dict(parse_url(address.url)) | _login(address)  # type: ignore[no-untyped-call]  # redis-py's is untyped
    try:
        ConnectionPool(**parsed).make_connection()
    except (TypeError, ValueError):
        raise UnusableUrl("has an option that redis-py does not take, or a value of one") from None
    return address, parsed


def _login(address: Address) -> dict[str, Any]:
    return {} if address.auth is None else {"credential_provider": make_login(address.auth)}


def _is_secure(address: Address) -> bool:
    return address.url.lower().startswith("rediss")


def _cluster(address: Address, options: dict[str, Any]) -> RedisCluster:
    """Return a client of a Cluster, of which any of the nodes named answers."""
    others = [cluster.ClusterNode(*host) for host in address.hosts[1:]]  # type: ignore[no-untyped-call]  # redis-py's is untyped
    return RedisCluster.from_url(address.url, startup_nodes=others, **options, **_of_cluster(address))


async def _cluster_async(address: Address, options: dict[str, Any]) -> redis_asyncio.RedisCluster:
    others = [asyncio_cluster.ClusterNode(*host) for host in address.hosts[1:]]
    client = redis_asyncio.RedisCluster.from_url(address.url, startup_nodes=others, **options, **_of_cluster(address))
    return await client.initialize()


def _of_cluster(address: Address) -> dict[str, Any]:
    return _login(address) | ({"address_remap": address.reached} if address.is_remapped else {})


class _Sentinel(Sentinel):
    """redis-py's, that knows where what it names is reached."""

    reached: Callable[[Host], Host]

    def discover_master(self, service_name: str) -> Host:
        return self.reached(super().discover_master(service_name))  # type: ignore[no-untyped-call]  # redis-py's is untyped


class _AsyncSentinel(asyncio_sentinel.Sentinel):
    reached: Callable[[Host], Host]

    async def discover_master(self, service_name: str) -> Host:
        return self.reached(await super().discover_master(service_name))


def _primary(
    address: Address, hosts: Sequence[Host], name: str, asking: dict[str, Any], options: dict[str, Any]
) -> Redis:
    """Return a client of the primary that Sentinels name; they are asked in turn, and again after a failover."""
    asking = asking | {"retry": Retry(NoBackoff(), 0)}  # whoever connects to the primary tries again
    sentinel = _Sentinel(list(hosts), sentinel_kwargs=asking, **options)  # type: ignore[no-untyped-call]  # redis-py's is untyped
    sentinel.reached = address.reached
    primary: Redis = sentinel.master_for(name, **read_options(address.url) | _login(address))  # type: ignore[no-untyped-call]  # redis-py's is untyped
    primary.ping()
    for asked in sentinel.sentinels:  # whoever closes the primary's client does not know of these
        asked.close()
    return primary


async def _primary_async(
    address: Address, hosts: Sequence[Host], name: str, asking: dict[str, Any], options: dict[str, Any]
) -> redis_asyncio.Redis:
    asking = asking | {"retry": redis_asyncio.retry.Retry(NoBackoff(), 0)}
    sentinel = _AsyncSentinel(list(hosts), sentinel_kwargs=asking, **options)  # type: ignore[no-untyped-call]  # redis-py's is untyped
    sentinel.reached = address.reached
    primary: redis_asyncio.Redis = sentinel.master_for(name, **read_options(address.url) | _login(address))
    await primary.ping()
    return primary


def of_sentinels(address: Address) -> dict[str, Any]:
    """Return what connections to the Sentinels take: credentials and TLS of their own."""
    return SENTINEL_TIMEOUTS | read_options(address.sentinel_url)


def _as_plain_sentinel(address: Address) -> dict[str, Any]:
    """Return what a Sentinel takes of a URL that does not say it is one: the URL's own credentials."""
    return SENTINEL_TIMEOUTS | _without_database(read_options(address.url) | _login(address))


def _of_plain_sentinel(parsed: dict[str, Any], first: dict[str, Any], wanted: str | None) -> tuple[Host, str]:
    """Return where such a Sentinel is, and which of the primaries that it watches is meant."""
    with Redis.from_pool(ConnectionPool(**_without_database(parsed) | first)) as asking:
        name = _chosen(asking.sentinel_masters(), wanted)
    return (parsed.get("host", "localhost"), parsed.get("port", 26379)), name


def _without_database(parsed: dict[str, Any]) -> dict[str, Any]:
    """Return options without the database, which a Sentinel has none of."""
    return {name: value for name, value in parsed.items() if name != "db"}


def _chosen(watched: Any, wanted: str | None) -> str:
    if wanted in watched:
        return str(wanted)
    if wanted is None and len(watched) == 1:
        return str(next(iter(watched)))
    raise StoreUnavailable(f"this Sentinel watches {', '.join(sorted(watched)) or 'nothing'}; name one of them")
