"""Reply parsing: errors that Redis replies, made into exceptions whatever their text is.

redis-py raises while it makes one of `-MOVED` without a slot, or of `-ASK` without an address. What is raised there
ends the process (segmentation fault in hiredis 3.5) where it happens within a map.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError


def take_any_error(connection: AbstractConnection) -> None:
    """Have a connection that is not open yet take any error that it is answered with."""
    parser: Any = connection._parser
    parse = parser.parse_error

    def parse_any(text: str) -> Exception:
        try:
            parsed: Exception = parse(text)
        except Exception:  # of many kinds, for what is no error of Redis
            return ResponseError(text)
        return parsed

    parser.parse_error = parse_any
