"""Two callers of one worker: what one of them asks for costs the other nothing."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from tests.service.conftest import PRODUCTS, Served, Shop, serve

pytestmark = pytest.mark.alone

BURST, LIST, EVERY_S = 12, 200, 3.0
IDS = [str(i) for i in range(PRODUCTS)]


@pytest.fixture(scope="module")
def served(stocked: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    # What is let in depends on the deadline: the default's.
    with serve(
        stocked.environment | {"RANKER_DEADLINE_MS": "1000"}, tmp_path_factory.mktemp("served") / "log"
    ) as running:
        yield running


def burst(served: Served) -> Counter[int]:
    """Ask for some long lists at the same time, as a page does; return how many answers had which status."""

    def ask(number: int) -> int:
        products = IDS[number : number + LIST]
        answer = httpx.post(
            f"{served.url}/predict", json={"requestId": "r", "userId": str(number), "productIds": products}, timeout=10
        )
        return answer.status_code

    with ThreadPoolExecutor(BURST) as callers:
        return Counter(callers.map(ask, range(BURST)))


@contextmanager
def impatient(served: Served) -> Iterator[Counter[str | None]]:
    """Have one connection ask again and again for more than a millisecond can rank; count what the answers lack."""
    stopping, lacked = threading.Event(), Counter[str | None]()

    def ask() -> None:
        with httpx.Client(headers={"x-request-timeout-ms": "1"}, timeout=10) as client:
            body = {"requestId": "r", "userId": "1", "productIds": IDS}
            while not stopping.wait(0.05):
                lacked[client.post(f"{served.url}/predict", json=body).json()["degradedReason"]] += 1

    caller = threading.Thread(target=ask)
    caller.start()
    try:
        yield lacked
    finally:
        stopping.set()
        caller.join()


def test_caller_who_allows_a_millisecond_throttles_nobody_else(served: Served) -> None:
    assert burst(served) == {200: BURST}
    with impatient(served) as lacked:
        for _ in range(3):
            until = time.monotonic() + EVERY_S
            while time.monotonic() < until:  # the time between two bursts is what this is about
                time.sleep(0.1)
            assert burst(served) == {200: BURST}, lacked
    assert lacked["scores_late"] > 20, lacked
