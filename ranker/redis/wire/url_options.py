"""URL option check: whether redis-py can make connections of a Redis URL: its options, and the files that TLS reads.

redis-py looks at them when a connection is made, with whatever exception comes of it. Opens no connection, and quotes
nothing of a URL where that may be part of a password.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from redis.asyncio.connection import ConnectionPool, SSLConnection, parse_url
from redis.connection import SSLConnection as SyncSSLConnection
from redis.exceptions import RedisError

from ranker.redis.url import parse

FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")
TAKEN = frozenset({
    "db", "username", "password", "client_name", "max_connections", "health_check_interval", "retry_on_timeout",
    "socket_timeout", "socket_connect_timeout", "socket_keepalive", "socket_read_size",
    *(name for name in inspect.signature(SSLConnection.__init__).parameters if name.startswith("ssl_")),
})  # fmt: skip
"""redis-py's options that a URL may give: text is what they are made of, and replies are the same whatever they say."""
_UNKNOWN = re.compile(r"unexpected keyword argument '(\w+)'")


def find_problem(url: str, *, files: bool = True) -> str | None:
    """Return what is wrong with a URL and what to do, to stand behind its name; None where it can be used.

    Args:
        url: As `redis.url` has it.
        files: Whether to read those that TLS reads, which may be away for a moment.
    """
    try:
        address = parse(url)
    except ValueError as err:  # it quotes nothing
        return f"cannot be used: {err}"
    for each in filter(None, (address.url, address.sentinel_url)):
        if (wrong := _problem(each, files)) is not None:
            return wrong
    return None


def read_options(url: str) -> dict[str, Any]:
    """Return a URL's options, but for where it leads, as redis-py's `Redis` and pools of Sentinels take them.

    Args:
        url: As redis-py takes it: `Address.url`, or `sentinel_url`.
    """
    parsed: dict[str, Any] = dict(parse_url(url))
    secure = issubclass(parsed.pop("connection_class", object), SSLConnection)
    tls = {"ssl": True} if secure else {}
    return {name: value for name, value in parsed.items() if name not in ("host", "port")} | tls


def leave_unnamed(options: dict[str, Any]) -> dict[str, Any]:
    """Return options of connections that do not tell the server of redis-py: some proxies hang up on CLIENT SETINFO.

    Over TLS they do tell it: where nothing was asked on a connection, redis-py takes the session ticket that comes
    behind a handshake for a reply that nobody read.
    """
    secure = issubclass(options.get("connection_class", object), (SyncSSLConnection, SSLConnection))
    return options if secure else options | {"driver_info": None}


def _problem(url: str, files: bool) -> str | None:
    query = url.partition("?")[2]
    # A password with a ? in it, which should be %3F, ends up here up to the @.
    quotable = "@" not in query
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in TAKEN:
            which = f" ({name})" if quotable else ""
            return f"has an option that Ranker does not take{which}; leave it out"
        if files and name in FILES and (why := _unreadable(Path(value))) is not None:
            return f"names a file that cannot be read: {name}={value if quotable else '…'} ({why}); correct the path"
    try:
        parsed: dict[str, Any] = dict(parse_url(url))
        connection = ConnectionPool(**parsed).make_connection()  # type: ignore[no-untyped-call]  # in redis-py
    except (TypeError, ValueError, RedisError) as err:
        unknown = _UNKNOWN.search(str(err)) if quotable else None
        which = f" ({unknown[1]})" if unknown is not None else ", or a value of one"
        return f"has an option that redis-py does not take{which}; leave it out, or write it as redis-py does"
    if files and isinstance(connection, SSLConnection):
        try:
            connection.ssl_context.get()
        except (OSError, TypeError, ValueError) as err:  # ssl's are OSErrors
            return f"has TLS options or files that cannot be used ({err}); give PEM files that belong together"
    return None


def _unreadable(path: Path) -> str | None:
    try:
        if path.is_dir():
            list(path.iterdir())
        else:
            path.open("rb").close()
    except OSError as err:
        return err.strerror or type(err).__name__
    return None
