"""Hang-up detection: stops the work for callers who are gone while their request waits.

The server says when a connection is lost; a request on it is known by what its `receive` is a method of. Owns which
task answers whom; knows nothing of rankings.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Receive

from ranker.errors import CallerGone


class _Listening:
    """One request; a class, for a generator would cost twice as much."""

    __slots__ = ("_request", "_task", "_tasks")

    def __init__(self, tasks: dict[object, asyncio.Task[Any]], request: object) -> None:
        self._tasks = tasks
        self._request = request

    def __enter__(self) -> None:
        if getattr(self._request, "disconnected", False):  # uvicorn's word for it
            raise CallerGone
        task = self._task = asyncio.current_task()
        assert task is not None
        self._tasks[self._request] = task

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._tasks.pop(self._request, None) is not None:
            return
        task = self._task
        assert task is not None
        task.uncancel()
        if kind is asyncio.CancelledError:
            raise CallerGone from None


class Callers:
    """The requests of one worker that are being answered."""

    def __init__(self) -> None:
        self._tasks: dict[object, asyncio.Task[Any]] = {}

    def listening(self, receive: Receive) -> _Listening:
        """Stop what the current task does within the block when its caller hangs up.

        Raises:
            CallerGone: the caller hung up.
        """
        return _Listening(self._tasks, getattr(receive, "__self__", receive))

    def hung_up(self, request: object) -> None:
        """Stop the work for a request, known by what its `receive` is a method of, if there is any."""
        task = self._tasks.pop(request, None)
        if task is not None:
            task.cancel()
