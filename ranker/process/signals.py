"""Signals of the supervisor: a hang-up ends nothing but a service whose terminal is gone, a second Ctrl-C ends at once.

BentoML's arbiter (circus) takes SIGHUP for an order to start every worker again, and is deaf once it ends. Owns the two
handlers that are put in front of its own; the first Ctrl-C, and SIGTERM, it still has. Also holds signals back, in any
process, where a handler that raises would end it without a word.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

logger = logging.getLogger("ranker.signals")

API_WATCHER = "service"
"""BentoML's name for the workers that take requests; the runner ends by itself once they are gone."""


class Signals:
    """Signal handlers in front of those of BentoML's arbiter.

    Args:
        arbiter: BentoML's, running.
    """

    def __init__(self, arbiter: Any) -> None:
        self._arbiter = arbiter
        self._interrupted_once = False
        self._had_terminal = _on_terminal()

    def install(self) -> None:
        """Take the signals over; to be called on the arbiter's loop, and without effect where none can arrive."""
        if threading.current_thread() is threading.main_thread():
            self._end = signal.signal(signal.SIGINT, self._interrupted)
            signal.signal(signal.SIGHUP, self._hung_up)

    def _interrupted(self, signum: int, frame: FrameType | None) -> None:
        if not (self._interrupted_once or self._arbiter._stopping):
            self._interrupted_once = True
            if callable(self._end):
                self._end(signum, frame)
            return
        for watcher in self._arbiter.watchers:
            for process in list(watcher.processes.values()) if watcher.name == API_WATCHER else ():
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGINT)

    def _hung_up(self, signum: int, frame: FrameType | None) -> None:
        if self._had_terminal and not _on_terminal():
            os.kill(os.getpid(), signal.SIGTERM)
        else:  # not from here, for it may have come in the middle of another line
            self._arbiter.loop.add_callback_from_signal(
                logger.warning, "SIGHUP is ignored: what the service read at its start, it reads at the next"
            )


@contextmanager
def held_back() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back, where Python handles them, until the end of the block.

    For the import of onnxruntime: an exception of a handler becomes an ImportError in its C++, or ends the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    handlers = {signum: handler for signum, handler in before.items() if callable(handler)}
    for signum in handlers:
        signal.signal(signum, lambda arrived, _: came.append(arrived))
    try:
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        for arrived in came[:1]:
            handlers[signal.Signals(arrived)](arrived, None)


def _on_terminal() -> bool:
    """Say whether input or output is a terminal that was not hung up."""
    return any(os.isatty(descriptor) for descriptor in range(3))
