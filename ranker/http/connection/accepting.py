"""Event loop that accepts a few connections at a time.

asyncio accepts as many in one round as the listening socket's backlog is long, 2,048, and starts to serve them after
that: nobody else is served meanwhile, and no connection can be refused before the process is out of files. When it is,
Python goes on to accept until the round is over, and begins anew a second later, once for each failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import uvicorn.config

ACCEPTS_PER_ROUND = 64
"""New connections that are accepted in one round of the loop, at most."""


class Loop(asyncio.SelectorEventLoop):
    """Event loop as asyncio's own, but for the number of connections it accepts in one round."""

    def _accept_connection(self, protocol_factory: Any, sock: Any, *args: Any) -> None:
        # sslcontext, server, backlog, and what only TLS needs
        sslcontext, server, backlog, *tls = args
        accept: Callable[..., None] = super()._accept_connection  # type: ignore[misc]  # asyncio's own, no API
        accept(protocol_factory, sock, sslcontext, server, min(backlog, ACCEPTS_PER_ROUND), *tls)


def loop_factory(use_subprocess: bool = False) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes a loop, as uvicorn asks for it."""
    return Loop


def install() -> None:
    """Have uvicorn use such a loop in this process.

    And not uvloop, wherever it finds it: with uvloop 0.23 some of 300 connections wait for seconds while others are
    served again and again (p99 2.6 s at 500 in flight, against 0.5 s); asyncio's own loop is fair, and as fast here.
    """
    uvicorn.config.LOOP_FACTORIES["auto"] = f"{__name__}:{loop_factory.__name__}"
