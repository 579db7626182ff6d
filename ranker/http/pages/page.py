"""Page: one HTML file over ASGI, with what a browser may do with it: run its own code, and ask its own service.

Owns the page's bytes and its headers. A page holds no data: what it shows, it asks for, with the token where one is
needed.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from starlette.types import Receive, Scope, Send

from ranker.http.exchange import Response
from ranker.http.exchange import send as send_response


class Page:
    """An ASGI app that answers with a page.

    Args:
        html: The file, with one `<style>` and one `<script>`.
        assets: Whether it takes scripts, styles and pictures from its own service, beside those two.
    """

    def __init__(self, html: Path, *, assets: bool = False) -> None:
        page = html.read_bytes()
        headers = (
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", make_policy(page.decode(), assets=assets).encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cache-control", b"no-cache"),
        )
        self._response = Response(200, page, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a GET; the server leaves the body of a HEAD out."""
        await send_response(send, self._response, kind=None)


def make_policy(page: str, *, assets: bool) -> str:
    """Return the Content-Security-Policy for a page: its own style and script by their hashes, and its own service."""
    style, script = (_source(page, tag) for tag in ("style", "script"))
    own, last = (" 'self'", "") if assets else ("", "; require-trusted-types-for 'script'")
    return (
        f"default-src 'none'; style-src {style}{own}; script-src {script}{own}; connect-src 'self'; "
        f"img-src data:{own}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'{last}"
    )


def _source(page: str, tag: str) -> str:
    (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
