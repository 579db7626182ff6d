"""Asks a contender one request after the other over one connection, and times each."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.harness.processes import Running

Ask = Callable[[bytes], float]
"""Sends a body, returns the seconds until the answer was read."""
TIMEOUT_S = 20.0


@contextmanager
def asking(started: Running) -> Iterator[Ask]:
    """Keep one connection open within the block.

    What it yields raises RuntimeError where an answer is no full ranking.
    """
    connection = http.client.HTTPConnection("127.0.0.1", started.port, timeout=TIMEOUT_S)
    headers = {"Content-Type": "application/json"}

    def timed(body: bytes) -> float:
        began = time.perf_counter()
        connection.request("POST", "/predict", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        elapsed_s = time.perf_counter() - began
        if answer.status != 200 or b'"degraded":true' in content:
            raise RuntimeError(f"status {answer.status}: {content[:200]!r}")
        return elapsed_s

    try:
        connection.connect()
        yield timed
    finally:
        connection.close()
