"""URL option check: whether redis-py can make connections of a Redis URL: its options, and the files that TLS reads.

redis-py looks at them when a connection is made, with whatever exception comes of it. Opens no connection, and quotes
nothing of a URL where that may be part of a password.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from redis.asyncio.connection import ConnectionPool, SSLConnection, parse_url
from redis.exceptions import RedisError

from ranker.redis.url import parse

FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")
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
    query = address.url.partition("?")[2]
    # A password with a ? in it, which should be %3F, ends up here up to the @.
    quotable = "@" not in query
    for name, value in parse_qsl(query):
        if files and name in FILES and (why := _unreadable(Path(value))) is not None:
            return f"names a file that cannot be read: {name}={value if quotable else '…'} ({why}); correct the path"
    try:
        parsed: dict[str, Any] = dict(parse_url(address.url))
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
