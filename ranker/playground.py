"""`GET /play`: one page that ranks, explains and edits in the browser, through `/explain`.

Owns the page's bytes and what a browser may do with them. The page holds no data: what it shows, it asks for, with the
token where one is needed.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from starlette.types import Receive, Scope, Send

from ranker.exchange import send_answer

PATH = "/play"
PAGE = Path(__file__).with_name("play.html")


class Playground:
    """An ASGI app that answers with the page."""

    def __init__(self) -> None:
        self._page = PAGE.read_bytes()
        self._headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", policy(self._page.decode()).encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cache-control", b"no-cache"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a GET; the server leaves the body of a HEAD out."""
        await send_answer(send, 200, [*self._headers], self._page)


def policy(page: str) -> str:
    """Return the Content-Security-Policy for a page: its own style and script by their hashes, and its own service."""
    style, script = (_source(page, tag) for tag in ("style", "script"))
    return (
        f"default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )


def _source(page: str, tag: str) -> str:
    (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
