"""Date of a response (RFC 9110, 6.6.1), for what does not go through uvicorn's own."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from time import time


def date_line() -> bytes:
    """Return the header's line with the time of now; rendered once a second."""
    return _render(int(time()))


@lru_cache(maxsize=1)
def _render(second: int) -> bytes:
    return b"date: %b\r\n" % formatdate(second, usegmt=True).encode()
