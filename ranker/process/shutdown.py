"""Shutdown of a process of the service: kindly when told to, soon in any case, and never later than its parent.

BentoML's supervisor passes SIGTERM to all processes at once and waits for a day; uvicorn then closes its sockets at
once and waits without bound. Owns what happens between the signal and uvicorn's handler; knows nothing of rankings.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import threading
from collections.abc import Awaitable, Callable

logger = logging.getLogger("ranker.lifecycle")

PARENT_CHECK_S = 1.0
HURRY_S = 2
"""Time that a process may take once it was told to hurry."""
PARENT = "_RANKER_PARENT"
"""Variable in the environment of a service: the id of the process without which it ends."""


def end_when_told(drain: Callable[[], Awaitable[None]], bound_s: float) -> None:
    """Have SIGTERM call `drain`, and the server's own handler when that is done.

    SIGINT calls that handler at once, and SIGHUP, which may be meant for a supervisor and all its workers, none.

    To be called on the server's event loop once the server has installed its handlers; without a server (in tests) it
    does nothing.

    Args:
        drain: Returns when nobody needs this process any more.
        bound_s: Seconds after which the process ends, whatever it is doing.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    server = signal.getsignal(signal.SIGTERM)
    if not callable(server):
        return
    loop = asyncio.get_running_loop()
    draining: list[asyncio.Task[None]] = []

    async def end() -> None:
        try:
            await drain()
        finally:
            server(signal.SIGTERM, None)

    def begin() -> None:
        if not draining:
            # The kernel ends us even when the loop is stuck.
            signal.alarm(math.ceil(bound_s))
            draining.append(loop.create_task(end()))

    def hurry() -> None:
        signal.alarm(HURRY_S)
        server(signal.SIGTERM, None)

    loop.add_signal_handler(signal.SIGTERM, begin)
    loop.add_signal_handler(signal.SIGINT, hurry)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor's, too, where it is meant for all


async def follow_parent() -> None:
    """Tell this process to end when its parent is gone, for ever; a supervisor that was killed told nobody."""
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110  # the kernel sets no event
        await asyncio.sleep(PARENT_CHECK_S)
    logger.error("The supervisor is gone; this process ends")
    os.kill(os.getpid(), signal.SIGTERM)
