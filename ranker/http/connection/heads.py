"""Head cache: splits each distinct head of a request into headers once.

The heads of one caller are alike, byte for byte. The parser is the connection's own (llhttp), so that what is no HTTP
there is none here. Owns which heads tell by themselves where the body ends; what else they must say, their reader says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import httptools

from ranker.api.headers import Headers

MAX_HEADERS = 100
MAX_HEADS = 1024
"""Heads that are kept at a time; at the next, the cache begins anew."""
MAX_KEPT_BYTES = 2048
"""Length of the longest head that is kept."""
OTHER_ENDS = (b"transfer-encoding", b"expect", b"upgrade")
"""Headers with which more than a length says where the body ends, or what follows it."""


class Head(NamedTuple):
    """Head of a request, taken apart.

    Attributes:
        headers: By lower-case name.
        body_bytes: Length of the body.
        deadline_s: Seconds that the caller waits; None where it does not say.
    """

    headers: Headers
    body_bytes: int
    deadline_s: float | None


class Heads:
    """Heads of one kind of request.

    Args:
        read: Makes a head of headers and a body's length; None of a request that goes another way.
    """

    def __init__(self, read: Callable[[Headers, int], Head | None]) -> None:
        self._read = read
        self._known: dict[bytes, Head | None] = {}

    def find(self, head: bytes) -> Head | None:
        """Return what a head says that ends with its blank line; None for a request that goes another way."""
        try:
            return self._known[head]
        except KeyError:
            found = self._split(head)
            if len(head) <= MAX_KEPT_BYTES:
                if len(self._known) >= MAX_HEADS:
                    self._known.clear()
                self._known[head] = found
            return found

    def _split(self, head: bytes) -> Head | None:
        seen = _Seen()
        parser = httptools.HttpRequestParser(seen)
        try:
            parser.feed_data(head)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return None
        headers = dict(seen.headers)
        length = headers.get(b"content-length", b"").strip()
        tells_its_end = length.isdigit() and not any(name in headers for name in OTHER_ENDS)
        is_plain = seen.ended and not seen.more and parser.should_keep_alive()
        if not tells_its_end or not is_plain or len(seen.headers) > MAX_HEADERS:
            return None
        return self._read(headers, int(length))


class _Seen:
    """Parts of a head as llhttp sees them: its headers, whether it ends, and whether there is more than a head."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.ended = self.more = False

    def on_message_begin(self) -> None:
        self.more = self.ended

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.ended = True

    def on_body(self, body: bytes) -> None:
        self.more = True
