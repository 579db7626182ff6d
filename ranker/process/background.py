"""Background tasks: run beside the requests, and never die unseen.

Whatever such a task raises that nobody foresaw is counted, logged once an outage, and tried again. Owns that rule and
the count; knows nothing of what the tasks do.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from ranker.process.log_limit import Seldom

T = TypeVar("T")

logger = logging.getLogger("ranker.background")

FIRST_RETRY_S, LONGEST_RETRY_S = 0.1, 5.0
"""Seconds until a task that failed begins again: at first, and at most; each time twice as long."""
STEADY_S = 10.0
"""Seconds after which a task that goes on is well: what it raises next is another outage."""
STUCK_AFTER = 5
"""Failures in a row after which the task counts as one that cannot go on."""
REPORT_INTERVAL_S = 60.0
"""Interval at which the outages of one task are logged, at most."""

unforeseen: Counter[str] = Counter()
"""Exceptions that nobody foresaw in this process, by task."""
_reports = Seldom(REPORT_INTERVAL_S)
_kept: set[_Kept] = set()


class Surprises:
    """The exceptions of one task that nobody foresaw: all are counted, the first of an outage is logged.

    Args:
        task: What it is called, in the log and the metrics; one of few.
    """

    def __init__(self, task: str) -> None:
        self._task = task
        self._logged = False
        unforeseen[task] += 0  # the series begins at zero: of one that begins at its first count, `rate` misses that

    def note(self, err: BaseException) -> None:
        """Count one, and log it with its traceback if it is an outage's first."""
        unforeseen[self._task] += 1
        if self._logged or not _reports.due(self._task):
            return
        self._logged = True
        logger.error(
            "%s failed in a way that nobody foresaw (%s: %s); it is tried again, and more of it is only counted",
            self._task,
            type(err).__name__,
            err,
            exc_info=err,
        )

    def over(self) -> None:
        """Note that an outage is over."""
        self._logged = False


def keep(task: str, work: Callable[[], Awaitable[None]], *, needed: bool = True) -> asyncio.Task[None]:
    """Have something done until it returns or is cancelled, and begun again whenever it fails.

    Args:
        task: What it is called, in the log and the metrics.
        work: Begins it; called again after a failure.
        needed: Whether the process cannot do its work without it, and says so (`stuck`) while it fails at once again
            and again.
    """
    return asyncio.get_running_loop().create_task(_Kept(task, work, needed).run(), name=task)


def once(task: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Have something done that is not begun again; what it raises is counted and logged."""
    made = asyncio.get_running_loop().create_task(work, name=task)
    made.add_done_callback(partial(note_failure, task))
    return made


async def cancel(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks, and wait until they are over; None stands for one that was never begun."""
    begun = [task for task in tasks if task is not None]
    for task in begun:
        task.cancel()
    await asyncio.gather(*begun, return_exceptions=True)


class Tasks:
    """Task set: holds tasks while they run, for an event loop does not; what one raises is counted and logged.

    Args:
        task: What each of them is called, in the log and the metrics.
    """

    def __init__(self, task: str) -> None:
        self._task = task
        self._running: set[asyncio.Task[Any]] = set()

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Have something done that is not begun again."""
        task = asyncio.get_running_loop().create_task(work, name=self._task)
        self._running.add(task)
        task.add_done_callback(self._over)
        return task

    async def wait(self) -> None:
        """Wait until those that run now are over."""
        if self._running:
            await asyncio.wait(tuple(self._running))

    async def cancel(self) -> None:
        """Cancel those that run now, and wait until they are over."""
        for task in self._running:
            task.cancel()
        await self.wait()

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        note_failure(self._task, task)


def stuck() -> list[str]:
    """Return which of the tasks that this process needs cannot go on."""
    return [kept.task for kept in _kept if kept.stuck]


class _Kept:
    """A task that is begun again."""

    def __init__(self, task: str, work: Callable[[], Awaitable[None]], needed: bool) -> None:
        self.task = task
        self._work = work
        self._needed = needed
        self._surprises = Surprises(task)
        self._failures = 0
        """In a row."""
        self._began: float | None = None

    @property
    def stuck(self) -> bool:
        return self._needed and self._failures >= STUCK_AFTER and not self._steady

    @property
    def _steady(self) -> bool:
        return self._began is not None and monotonic() - self._began >= STEADY_S

    async def run(self) -> None:
        _kept.add(self)
        try:
            wait_s = FIRST_RETRY_S
            while not await self._done():
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
                wait_s = FIRST_RETRY_S if self._failures == 1 else min(wait_s * 2, LONGEST_RETRY_S)
        finally:
            _kept.discard(self)

    async def _done(self) -> bool:
        """Do the work; return whether it is done, or failed."""
        self._began = monotonic()
        try:
            await self._work()
        except Exception as err:  # whatever it is, the task must not die of it
            if self._steady:
                self._failures = 0
                self._surprises.over()
            self._failures += 1
            self._surprises.note(err)
        else:
            return True
        finally:
            self._began = None
        return False


def note_failure(task: str, done: asyncio.Task[Any]) -> None:
    """Count and log what a task that is over raised, if anything; for a callback of its own."""
    if not done.cancelled() and (err := done.exception()) is not None:
        Surprises(task).note(err)
