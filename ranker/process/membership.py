"""Membership of a process in its service: in its run folder, gone when told to, and never later than its parent."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from ranker.process import background
from ranker.process.run_folder import RunFolder
from ranker.process.shutdown import end_when_told, follow_parent


class Membership:
    """Begins when it is made, on the server's event loop once the server has installed its handlers.

    Args:
        drain: Called on SIGTERM; returns when nobody needs this process any more.
        bound_s: Seconds after that in which the process ends, whatever it is doing.
    """

    def __init__(self, drain: Callable[[], Awaitable[None]], bound_s: float) -> None:
        self._folder = RunFolder.join(Path(tempfile.gettempdir()))
        self._following = background.keep("parent watch", follow_parent, needed=False)
        end_when_told(drain, bound_s)

    def end(self) -> None:
        """Leave the service."""
        self._following.cancel()
        if self._folder is not None:
            self._folder.leave()
