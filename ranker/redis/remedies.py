"""Remedies of Redis errors: what to do about a server that is away, hangs, or refuses whoever asks.

Owns these sentences, for commands; a service, whose URL its deployment sets, has others. Knows nothing of connections.
"""

from __future__ import annotations

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

AWAY = (
    "Start Redis, or correct RANKER_REDIS_URL (rediss:// for TLS); where that is unset, `ranker demo` starts one with "
    "the example shop, for its own folder."
)


def find_remedy(cause: BaseException | None) -> str:
    """Return what to do about an error of redis-py or of a socket; empty where that is not known."""
    if isinstance(cause, NoPermissionError):
        return "Give the user of RANKER_REDIS_URL the right to it (ACL SETUSER), or name one there that has it."
    if isinstance(cause, AuthenticationError | AuthorizationError):  # which redis-py counts among those of connections
        return "Put the right user and password into RANKER_REDIS_URL, with special characters as %XX."
    if isinstance(cause, BusyLoadingError):
        return "Wait until Redis has read its saved data."
    if isinstance(cause, RedisTimeoutError | TimeoutError):
        return "See what hangs: Redis itself (its log, SLOWLOG) or the network (firewalls) before it."
    if isinstance(cause, ResponseError) and "DB index" in str(cause):
        return "Name a database in RANKER_REDIS_URL that this Redis has: /0 at the end, or ?db=0 of a unix socket."
    if isinstance(cause, RedisConnectionError | OSError):
        return AWAY
    return ""
