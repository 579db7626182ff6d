"""Channel call: scores that come from the runner, and who is told of them.

Owns that a call ends once. Knows nothing of the connection, which is handed in as what gives the call up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ranker.vectors.rows import Matrix, Scores, SplitRows


class ChannelCall:
    """Scores of one call, there or to come; told at once when they come, where a future's are told a turn later.

    Args:
        rows: They must last until it is over.
        deadline: When it is late, by the event loop's time.
        drop: Gives the call up.
    """

    __slots__ = ("_callback", "_drop", "_outcome", "deadline", "rows")

    def __init__(self, rows: Matrix | SplitRows, deadline: float, drop: Callable[[], None]) -> None:
        self.rows = rows
        self.deadline = deadline
        self._drop = drop
        self._outcome: Scores | BaseException | None = None
        self._callback: Callable[[ChannelCall], None] | None = None

    def add_done_callback(self, callback: Callable[[ChannelCall], None]) -> None:
        """Have someone told when it is over, at once if it is; the last who asked."""
        self._callback = callback
        if self._outcome is not None:
            callback(self)

    def result(self) -> Scores:
        """Return the scores, shape (n,), float32; raise why there are none."""
        if self._outcome is None:
            raise asyncio.InvalidStateError
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def cancel(self) -> None:
        """Give it up: nobody is told, and the runner, which may yet write into the memory, gets other memory."""
        if self._outcome is None:
            self._callback = None
            self._drop()

    def end(self, outcome: Scores | BaseException) -> None:
        """Say what became of it, once."""
        if self._outcome is None:
            self._outcome = outcome
            if self._callback is not None:
                self._callback(self)
