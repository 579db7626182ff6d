"""Notices callers who hang up while their request waits, so that nobody works for them.

Nearly all requests are answered long before anybody could give up, so a request is only noted, and listened to (a task
of its own, some 20 µs) once it has waited for `AFTER_S`. Owns that; knows nothing of rankings.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from starlette.types import Receive

from ranker.errors import CallerGone

AFTER_S = 0.25
"""Callers who wait for less are not listened to; no timeout worth setting is shorter than the time a page has."""
SWEEP_S = 0.1

_Waiting = dict[asyncio.Task[Any], tuple[float, Receive]]
_Listeners = dict[asyncio.Task[Any], asyncio.Task[None]]


class _Listening:
    """One request; a class, for a generator would cost twice as much."""

    __slots__ = ("_listeners", "_receive", "_task", "_waiting")

    def __init__(self, waiting: _Waiting, listeners: _Listeners, receive: Receive) -> None:
        self._waiting = waiting
        self._listeners = listeners
        self._receive = receive

    def __enter__(self) -> None:
        task = self._task = asyncio.current_task()
        assert task is not None
        self._waiting[task] = monotonic(), self._receive

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task = self._task
        assert task is not None
        if self._waiting.pop(task, None) is not None:
            return
        listener = self._listeners.pop(task, None)
        if listener is None:
            return
        if kind is asyncio.CancelledError and listener.done():  # or somebody else cancelled
            task.uncancel()
            raise CallerGone from None
        listener.cancel()


class Callers:
    """The requests of one worker that are being answered."""

    def __init__(self) -> None:
        self._waiting: _Waiting = {}
        self._listeners: _Listeners = {}

    def listening(self, receive: Receive) -> _Listening:
        """Stop what the current task does within the block when its caller hangs up; its body must have been read.

        Raises:
            CallerGone: the caller hung up.
        """
        return _Listening(self._waiting, self._listeners, receive)

    async def sweep(self) -> None:
        """Listen, for ever, to those who have waited for long."""
        while True:
            await asyncio.sleep(SWEEP_S)
            begun_before = monotonic() - AFTER_S
            while self._waiting:
                task, (begun, receive) = next(iter(self._waiting.items()))
                if begun > begun_before:
                    break
                del self._waiting[task]
                self._listeners[task] = asyncio.create_task(_listen(task, receive))


async def _listen(task: asyncio.Task[Any], receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel()
