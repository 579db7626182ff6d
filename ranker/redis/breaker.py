"""Circuit breaker: while something we call is down, refuses at once, and finds out in the background when it is back.

The pattern is Michael Nygard's ("Release It!", 2007), with two differences. It opens at the first failure, for that
costs little: the first probe follows within milliseconds. And no request ever serves as a probe. Owns when to ask
again; knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from ranker.errors import StoreUnavailable
from ranker.process import background
from ranker.process.log_limit import Seldom

logger = logging.getLogger("ranker.breaker")

FIRST_WAIT_S = 0.02
"""Seconds before the first probe; each further one waits twice as long as the one before."""
LONGEST_WAIT_S = 0.4
"""Seconds between two probes at most: with a probe's own bound, answers are full again within a second."""
REPORT_INTERVAL_S = 10.0
"""Interval at which openings are logged, at most."""


class Breaker:
    """Circuit breaker of one dependency: calls pass while it is closed.

    Args:
        name: What is called, for the log.
        probe: Asks the dependency; raises StoreUnavailable while it is down. Whatever else it raises counts as such.
    """

    def __init__(self, name: str, probe: Callable[[], Awaitable[None]]) -> None:
        self._name = name
        self._probe = probe
        self._reason: str | None = None
        self._wait_s = FIRST_WAIT_S
        self._probing: asyncio.Task[None] | None = None
        self._closed = False
        self._reports = Seldom(REPORT_INTERVAL_S)
        self._surprises = background.Surprises("probe")
        self.openings = 0

    @property
    def is_open(self) -> bool:
        """Whether calls are refused now."""
        return self._reason is not None

    def raise_if_open(self) -> None:
        """Let a call pass.

        Raises:
            StoreUnavailable: the dependency is down, with what it or its probe last said.
        """
        if self._reason is not None:
            raise StoreUnavailable(self._reason)

    def succeeded(self) -> None:
        """Note that a call was answered: the next failure is probed early."""
        self._wait_s = FIRST_WAIT_S

    def failed(self, reason: str) -> None:
        """Note that a call failed: refuse further ones until a probe is answered; nothing once it is closed."""
        if self._reason is not None or self._closed:
            return
        self._reason = reason
        self.openings += 1
        self._probing = background.keep("probe", self._probe_until_answered)

    async def close(self) -> None:
        """Probe no more."""
        self._closed = True
        await background.cancel(self._probing)

    async def _probe_until_answered(self) -> None:
        opened = time.monotonic()
        report = self._reports.due()
        if report:
            logger.warning("%s is down (%s); asking again until it is back", self._name, self._reason)
        while self._reason is not None:
            # Jitter, so that the workers of a fleet do not all ask in the same moment.
            await asyncio.sleep(self._wait_s * random.uniform(0.5, 1.0))
            self._wait_s = min(self._wait_s * 2, LONGEST_WAIT_S)
            try:
                await self._probe()
            except StoreUnavailable as err:
                self._reason = err.reason
            except Exception as err:  # a probe that dies would leave us open for ever
                self._surprises.note(err)
                self._reason = f"the probe failed ({type(err).__name__}: {err})"
            else:
                self._reason = None
        self._surprises.over()
        if report:
            logger.warning("%s is back after %.2f s", self._name, time.monotonic() - opened)
