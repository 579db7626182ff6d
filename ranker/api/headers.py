"""Request and answer headers: their names, the caller's deadline, the trace id."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ranker import errors

TIMEOUT_HEADER = "X-Request-Timeout-Ms"
_TIMEOUT = TIMEOUT_HEADER.lower().encode()
JSON = (b"content-type", b"application/json")
MSGPACK = (b"content-type", b"application/msgpack")
CLOSE = (b"connection", b"close")

Headers = Mapping[bytes, bytes]
"""A request's, by lower-case name."""
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def trace_id(headers: Headers) -> str | None:
    """Return the trace that a request belongs to, as its caller says (https://www.w3.org/TR/trace-context/)."""
    match = _TRACEPARENT.match(headers.get(b"traceparent", b""))
    return match[1].decode() if match else None


def allow_header(methods: Sequence[str]) -> tuple[bytes, bytes]:
    """Return the header that names the methods a path takes."""
    return b"allow", ", ".join(methods).encode()


def model_header(tag: str) -> tuple[bytes, bytes]:
    """Return the header that names the model that ranked, or would have."""
    return b"x-ranker-model", tag.encode()


def deadline_s(headers: Headers) -> float | None:
    """Return how long the caller will wait, in seconds; None if it does not say.

    Raises:
        InvalidTimeout: the header is no number of milliseconds.
    """
    value = headers.get(_TIMEOUT)
    if value is None:
        return None
    value = value.strip(b" \t")
    if not value.isdigit() or len(value) > 9 or not int(value):
        raise errors.InvalidTimeout(value.decode("latin-1"))
    return int(value) / 1000
