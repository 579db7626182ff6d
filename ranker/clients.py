"""Clients for those who write features: of one server, of the primary that a Sentinel names, or of a Cluster.

Which of them a URL leads to, the server itself says (HELLO, Redis 6). Owns that choice; knows nothing of features. What
serves requests reads through `connection.py` instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from redis import ConnectionPool, Redis, RedisCluster
from redis import asyncio as redis_asyncio
from redis.asyncio import sentinel as asyncio_sentinel
from redis.backoff import ExponentialBackoff
from redis.connection import parse_url
from redis.exceptions import RedisClusterException, RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel

from ranker.address import parse
from ranker.errors import StoreUnavailable, UnusableUrl

Client = Redis | RedisCluster
AsyncClient = redis_asyncio.Redis | redis_asyncio.RedisCluster

RETRIES = 4
"""With pauses of up to a second: enough for a server that restarts, short for who waits."""
TIMEOUTS: dict[str, Any] = {"socket_timeout": 60.0, "socket_connect_timeout": 5.0}
# RESP2: the same answers from every server.
OPTIONS: dict[str, Any] = {**TIMEOUTS, "protocol": 2}


def connect(url: str, sentinel_service: str | None = None) -> Client:
    """Return a client for what a URL leads to.

    Args:
        url: As `ranker.address` has it; also a plain one of any node of a Cluster, or of a Sentinel. Of several hosts,
            the first is asked.
        sentinel_service: Which of the primaries that a Sentinel watches; needed when there are several.

    Raises:
        StoreUnavailable: it does not answer, refuses, or watches no such primary.
        UnusableUrl: redis-py does not take it.
    """
    options = OPTIONS | {"retry": Retry(ExponentialBackoff(cap=1.0, base=0.1), RETRIES)}
    url, sentinel_service = _of(url, sentinel_service)
    parsed = _parsed(url)
    with answering(), Redis.from_pool(ConnectionPool(**_without_database(parsed) | options)) as asking:
        try:
            mode = _mode(asking.execute_command("HELLO"))
        except ResponseError as err:
            mode = _mode_of_old_server(err)
        if mode == "standalone":
            return Redis.from_url(url, **options)
        if mode == "cluster":
            return RedisCluster.from_url(url, **options)
        name = _chosen(asking.sentinel_masters(), sentinel_service)
        at, of_sentinel, of_data = _sentinel_options(url)
        sentinel = Sentinel([at], sentinel_kwargs=of_sentinel, **options)  # type: ignore[no-untyped-call]
        primary: Redis = sentinel.master_for(name, **of_data)  # type: ignore[no-untyped-call]
        primary.ping()
        return primary


async def connect_async(url: str, sentinel_service: str | None = None) -> AsyncClient:
    """Return an asyncio client for what a URL leads to; see `connect`."""
    options = OPTIONS | {"retry": redis_asyncio.retry.Retry(ExponentialBackoff(cap=1.0, base=0.1), RETRIES)}
    url, sentinel_service = _of(url, sentinel_service)
    _parsed(url)
    pool = redis_asyncio.ConnectionPool(**_without_database(redis_asyncio.connection.parse_url(url)) | options)
    with answering():
        async with redis_asyncio.Redis.from_pool(pool) as asking:
            try:
                mode = _mode(await asking.execute_command("HELLO"))  # type: ignore[no-untyped-call]
            except ResponseError as err:
                mode = _mode_of_old_server(err)
            if mode == "standalone":
                return redis_asyncio.Redis.from_url(url, **options)
            if mode == "cluster":
                return redis_asyncio.RedisCluster.from_url(url, **options)
            name = _chosen(await asking.sentinel_masters(), sentinel_service)
        at, of_sentinel, of_data = _sentinel_options(url)
        sentinel = asyncio_sentinel.Sentinel([at], sentinel_kwargs=of_sentinel, **options)  # type: ignore[no-untyped-call]
        primary: redis_asyncio.Redis = sentinel.master_for(name, **of_data)
        await primary.ping()
        return primary


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
    return [client.get_redis_connection(node) for node in client.get_primaries()]  # type: ignore[no-untyped-call]


@contextmanager
def answering() -> Iterator[None]:
    """Turn redis-py's errors into ours.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses.
    """
    try:
        yield
    except (RedisError, RedisClusterException, OSError) as err:
        raise StoreUnavailable(" ".join(str(err).split()).rstrip(".") or type(err).__name__) from err


def _of(url: str, sentinel_service: str | None) -> tuple[str, str | None]:
    """Return what redis-py takes of a URL, and what the primary is called."""
    try:
        address = parse(url)
    except ValueError:
        raise UnusableUrl from None
    return address.url, address.service or sentinel_service


def _parsed(url: str) -> dict[str, Any]:
    """Return a URL's options; some are looked at only when a connection is made of them, which opens nothing yet."""
    try:
        parsed: dict[str, Any] = dict(parse_url(url))  # type: ignore[no-untyped-call]
        ConnectionPool(**parsed).make_connection()
    except (TypeError, ValueError):
        raise UnusableUrl from None
    return parsed


def _without_database(parsed: Any) -> dict[str, Any]:
    """Return a URL's options without its database, which a Sentinel has none of."""
    return {name: value for name, value in parsed.items() if name != "db"}


def _mode_of_old_server(err: ResponseError) -> str:
    """Take a server that does not know HELLO for a single one; raise anything else."""
    if "unknown command" in str(err).lower():
        return "standalone"
    raise err


def _mode(hello: Any) -> str:
    """Return `standalone`, `cluster` or `sentinel`."""
    pairs: Iterable[tuple[Any, Any]] = (
        hello.items() if isinstance(hello, dict) else zip(hello[::2], hello[1::2], strict=True)
    )
    for name, value in pairs:
        if name in (b"mode", "mode"):
            return value.decode() if isinstance(value, bytes) else str(value)
    return "standalone"


def _chosen(watched: Any, wanted: str | None) -> str:
    if wanted in watched:
        return str(wanted)
    if wanted is None and len(watched) == 1:
        return str(next(iter(watched)))
    raise StoreUnavailable(f"this Sentinel watches {', '.join(sorted(watched)) or 'nothing'}; name one of them")


def _sentinel_options(url: str) -> tuple[tuple[str, int], dict[str, Any], dict[str, Any]]:
    """Return where the Sentinel is, and what its connections and those to the data take from its URL."""
    parsed = _parsed(url)
    secure = {"ssl": True} if "connection_class" in parsed else {}
    credentials = {k: parsed[k] for k in ("username", "password") if k in parsed} | secure
    of_data = credentials | ({"db": parsed["db"]} if "db" in parsed else {})
    return (parsed.get("host", "localhost"), parsed.get("port", 26379)), TIMEOUTS | credentials, of_data
