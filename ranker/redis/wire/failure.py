"""Failure of an exchange with Redis: in a word for the metrics, in a sentence for whoever asked."""

from __future__ import annotations

import os
from typing import Literal

from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

Failure = Literal["timeout", "connection", "refusal"]
"""No answer in time; no connection, or nonsense on it; an error as the answer."""


def is_foreseen(err: Exception) -> bool:
    """Return whether redis-py raises this on purpose.

    It stumbles over some of what is no reply: `-MOVED` alone is a ValueError, an empty push an IndexError.
    """
    return isinstance(err, RedisError | OSError)


def classify(err: Exception) -> Failure:
    """Return what it counts as."""
    if isinstance(err, TimeoutError | RedisTimeoutError):
        return "timeout"
    # redis-py files the last two under connection errors.
    return "refusal" if isinstance(err, ResponseError | AuthenticationError | BusyLoadingError) else "connection"


def describe(err: Exception, where: str, timeout_s: float) -> str:
    """Return what went wrong in an exchange that may take so many seconds."""
    if isinstance(err, TimeoutError):
        return f"no answer from {where} in {timeout_s * 1000:g} ms"
    if not is_foreseen(err):
        return f"the exchange with {where} failed ({type(err).__name__}: {err})"
    if (cause := _why_unconnected(err)) is not None:
        return f"no connection to {where}: {cause}"
    code = getattr(err, "status_code", None)  # redis-py takes it off the message
    return (f"{code} {err}" if code else str(err)).rstrip(".") or type(err).__name__


def _why_unconnected(err: Exception) -> str | None:
    """Return what the system said where no connection was made; redis-py and asyncio put the address into it, twice."""
    cause = err.__context__
    if not isinstance(cause, OSError) or not cause.strerror or " connecting to " not in str(err):
        return None
    if cause.errno is not None and cause.strerror.startswith("Connect call failed"):
        return os.strerror(cause.errno)
    return cause.strerror
