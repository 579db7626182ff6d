"""CORS: which web pages of other origins may ask from a browser, and see what is answered, errors included.

Owns what a page may send and read; the protocol is Starlette's (https://fetch.spec.whatwg.org/#http-cors-protocol). A
preflight carries no token, so this stands before whatever asks for one.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from ranker.api.headers import TIMEOUT_HEADER

METHODS = ("GET", "HEAD", "POST")
SENT = ("Authorization", "Content-Type", TIMEOUT_HEADER, "traceparent", "tracestate")
"""Headers that a page may send beside those that any page may."""
READ = ("X-Ranker-Model", "Server-Timing", "Retry-After")
"""Headers of an answer that a page may read beside those that any page may."""
PREFLIGHT_VALID_S = 600
"""Seconds in which a browser need not ask again; Chrome's most is two hours."""


def allow(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Return an ASGI app that lets pages of the origins ask another; `*` stands for all."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=SENT,
        expose_headers=READ,
        max_age=PREFLIGHT_VALID_S,
    )
