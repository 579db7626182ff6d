"""Requests at a constant rate, whatever becomes of those before; everything that happened to each is kept.

A request counts from the moment it should have left, so waiting cannot hide, and each ends as exactly one kind: `ok`,
`degraded …`, `error …`, `lost …` (no answer, for the connection broke) or `hung` (no answer at all).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

KEEP_IDLE_S = 5.0
"""An idle connection is not used again after so long: one that the service is just closing would lose a request."""
GIVE_UP_S = 15.0
"""After so long a request counts as hung for ever."""


@dataclass(slots=True)
class Outcome:
    """One request and what became of it. Times are `time.monotonic()`."""

    user: int
    products: tuple[int, ...]
    intended: float
    sent: float = 0.0
    ended: float = 0.0
    kind: str = "hung"
    answer: dict[str, Any] = field(default_factory=dict)
    """The body of a 200."""

    @property
    def took_s(self) -> float:
        return self.ended - self.intended

    @property
    def full(self) -> bool:
        return self.kind == "ok"

    @property
    def lost(self) -> bool:
        return self.kind.startswith("lost")


class Load:
    """Sends to one service.

    Args:
        url: The service's.
        rate: Requests a second.
        choose: Returns the next request's user and products.
    """

    def __init__(self, url: str, rate: float, choose: Callable[[], tuple[int, tuple[int, ...]]]) -> None:
        self._url = f"{url}/predict"
        self._rate = rate
        self._choose = choose
        self._under_way: set[asyncio.Task[None]] = set()
        self.outcomes: list[Outcome] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Send until told to stop, then wait for what is under way."""
        timeout = aiohttp.ClientTimeout(total=GIVE_UP_S)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_IDLE_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            began = time.monotonic()
            sent = 0
            while not stop.is_set():
                intended = began + sent / self._rate
                await asyncio.sleep(max(0.0, intended - time.monotonic()))
                outcome = Outcome(*self._choose(), intended)
                self.outcomes.append(outcome)
                task = asyncio.create_task(self._ask(session, outcome, sent))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
                sent += 1
            await asyncio.gather(*self._under_way)

    async def _ask(self, session: aiohttp.ClientSession, outcome: Outcome, number: int) -> None:
        products = [str(i) for i in outcome.products]
        body = orjson.dumps({"requestId": str(number), "userId": str(outcome.user), "productIds": products})
        outcome.sent = time.monotonic()
        try:
            async with session.post(self._url, data=body, headers={"content-type": "application/json"}) as response:
                answer = orjson.loads(await response.read())
                outcome.kind = _kind(response.status, answer)
                if response.status == 200:
                    outcome.answer = answer
        except TimeoutError:
            pass  # it hung
        except (aiohttp.ClientError, OSError, orjson.JSONDecodeError) as err:
            outcome.kind = f"lost {type(err).__name__}"
        outcome.ended = time.monotonic()


def _kind(status: int, answer: dict[str, Any]) -> str:
    if status != 200:
        return f"error {status} {answer.get('error_type')}"
    return f"degraded {answer['degradedReason']}" if answer["degraded"] else "ok"
