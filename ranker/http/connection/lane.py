"""Lane, as far as a connection needs one: the short way for ranking requests that are whole in one packet."""

from __future__ import annotations

from typing import Any, Protocol

from ranker.http.connection.heads import Head, Heads


class Lane(Protocol):
    """Short way for ranking requests that are whole in one packet."""

    heads: Heads

    @property
    def is_open(self) -> bool:
        """Whether requests are answered there now."""

    def has_room(self, body_bytes: int) -> bool:
        """Whether there is room for one with so long a body."""

    def refuse(self) -> bytes:
        """Return the whole response to one for which there is none."""

    def take(self, connection: Any, head: Head, body: bytes) -> Any:
        """Take one, and return it in the shape of uvicorn's cycle; the connection's `respond` follows, later."""
