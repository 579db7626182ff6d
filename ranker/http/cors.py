"""CORS: which web pages of other origins may ask from a browser, and see what is answered, errors included.

Owns what a page may send and read; the protocol is Starlette's (https://fetch.spec.whatwg.org/#http-cors-protocol). A
preflight carries no token, so this stands before whatever asks for one.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from ranker.api.headers import TIMEOUT_HEADER
from ranker.errors import RefusedPreflight
from ranker.http.exchange import describe

METHODS = ("GET", "HEAD", "POST")
SENT = ("Authorization", "Content-Type", TIMEOUT_HEADER, "traceparent", "tracestate")
"""Headers that a page may send beside those that any page may."""
READ = ("X-Ranker-Model", "Server-Timing", "Retry-After")
"""Headers of an answer that a page may read beside those that any page may."""
PREFLIGHT_VALID_S = 600
"""Seconds in which a browser need not ask again; Chrome's most is two hours."""


class Cors(CORSMiddleware):
    """Starlette's, whose refusals are errors as others are."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the answer to a preflight."""
        answer = super().preflight_response(request_headers)
        if answer.status_code == 200:
            return answer
        what = bytes(answer.body).decode().removeprefix("Disallowed CORS ")
        refused = describe(RefusedPreflight(what), None, {})
        kept = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
        return Response(refused.body, refused.status, kept, "application/json")


def allow(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Return an ASGI app that lets pages of the origins ask another; `*` stands for all."""
    return Cors(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=SENT,
        expose_headers=READ,
        max_age=PREFLIGHT_VALID_S,
    )
