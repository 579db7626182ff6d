"""TLS to Redis: certificates that are read once for many connections, and what its errors mean.

Reading a system's authorities took 30 to 100 ms here, in which an event loop stands still, and redis-py reads them
again for every connection.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from redis.asyncio.connection import AbstractConnection, RedisSSLContext, SSLConnection

FILES = ("keyfile", "certfile", "ca_certs", "ca_path")
OPTIONS = (
    *FILES, "ca_data", "cert_reqs", "include_verify_flags", "exclude_verify_flags", "check_hostname", "min_version",
    "ciphers", "password",
)  # fmt: skip
HANGS_UP = (
    "reset by peer",
    "closed by server",
    "connection lost",
    "certificate required",
    "eof occurred",
    "broken pipe",
)
WAITS = ("no answer", "timeout connecting", "wrong version number", "record layer failure")


def share_context(connection: AbstractConnection) -> None:
    """Have a connection that is not open yet take what another one with the same options and files has read."""
    if isinstance(connection, SSLConnection):
        own = connection.ssl_context
        options = tuple(_hashable(getattr(own, name)) for name in OPTIONS)
        # Renewed files are read again.
        written = tuple(Path(file).stat().st_mtime_ns for name in FILES if (file := getattr(own, name)) is not None)
        connection.ssl_context = _context(options, written)


def explain_error(message: str, *, secure: bool) -> str:
    """Return what an error of a connection says, and what to do, where TLS is why.

    Args:
        message: The error's text.
        secure: Whether TLS was spoken.
    """
    message = message.rstrip(".")
    text = message.lower().replace("_", " ")
    if "certificate verify failed" in text:
        if "mismatch" in text:
            remedy = (
                "the certificate is for other names: use one of them in the URL, and, where all nodes of a Cluster are "
                "behind it, fixed_hostname=yes"
            )
        else:
            remedy = "name the authority that issued the certificate with ssl_ca_certs=FILE behind the URL's ?"
    elif secure and any(words in text for words in WAITS):
        remedy = "a server that does not speak TLS waits like this: use redis://"
    elif secure and any(words in text for words in HANGS_UP):
        remedy = (
            "a server that wants a certificate from its clients hangs up like this: give ssl_certfile=FILE and "
            "ssl_keyfile=FILE behind the URL's ?"
        )
    elif any(words in text for words in HANGS_UP):
        remedy = "a server that speaks TLS alone hangs up like this: use rediss://"
    else:
        return message
    return f"{message} ({remedy})"


@lru_cache(maxsize=64)
def _context(options: tuple[Any, ...], _written: tuple[int, ...]) -> RedisSSLContext:
    return RedisSSLContext(**dict(zip(OPTIONS, options, strict=True)))


def _hashable(option: Any) -> Any:
    return tuple(option) if isinstance(option, list) else option
