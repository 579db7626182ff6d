"""Measures what observing a request costs: timings, metric notes, the header, the share of a flush; and a span.

    python -m benchmarks.micro.observability [--requests 20000] [--request-us 350]

A micro-benchmark in one process: the same answered request is told of again and again, by everything that is on by
default, in prometheus_client's multi-process mode as BentoML sets it up, with a flush for each thousand. `bare` does
what a service without metrics would: nothing but a `Server-Timing` of the four stages that callers are promised. Also
the clock readings of a request, and what sampled and unsampled spans would add. `--request-us` is the CPU of a whole
request (docs/how-to/plan-capacity.md), of which the share is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from time import monotonic, process_time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ranker.ranking.answer import Answer

REPEATS = 7
FLUSH_EVERY = 1000
PRODUCTS = 100
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--request-us", type=float, default=350.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory  # read when prometheus_client is imported
        found = costs(arguments.requests)
    default_us = found["default"] - found["bare"] + found["clocks"]
    share = {"default_us": default_us, "share_of_request": default_us / arguments.request_us}
    print(json.dumps({name: round(value, 3) for name, value in (found | share).items()}))


def costs(requests: int) -> dict[str, float]:
    """Return the microseconds of CPU that each way of observing takes for a request."""
    from ranker.api.predict import PredictRequest
    from ranker.telemetry.metrics import Recorder
    from ranker.telemetry.observer import Observer
    from ranker.telemetry.slow_requests import SlowRequests
    from ranker.telemetry.tracing import Spans

    now = monotonic()
    answer = answered(now)
    moments = answer.moments
    request = PredictRequest(requestId="r", userId="u", productIds=[f"p{i}" for i in range(PRODUCTS)])
    recorder = Recorder()
    spans = Spans(EntryPoint("discarding", "benchmarks.harness.discarding:Discarding", "benchmark"), "0")

    def telling(observer: Observer, headers: dict[bytes, bytes]) -> Callable[[int], Any]:
        def tell(i: int) -> None:
            observer.answered(headers, request, answer, now)
            recorder.merged_score(1, PRODUCTS)
            if i % FLUSH_EVERY == 0:
                observer.report()

        return tell

    def bare(_: int) -> str:
        fetch, assemble, score, total = now - moments.began, 0.0, moments.scored - moments.assembled, 0.004
        return (
            f"fetch;dur={fetch * 1e3:.3f}, assemble;dur={assemble * 1e3:.3f}, "
            f"score;dur={score * 1e3:.3f}, total;dur={total * 1e3:.3f}"
        )

    def clocks(_: int) -> None:
        for _ in range(8):
            monotonic()

    slow = SlowRequests(500.0)
    ways = {
        "bare": bare,
        "clocks": clocks,
        "default": telling(Observer(recorder, slow, None), {}),
        "spans_unsampled": telling(Observer(recorder, slow, spans), {b"traceparent": TRACE + b"0"}),
        "spans_sampled": telling(Observer(recorder, slow, spans), {b"traceparent": TRACE + b"1"}),
    }
    found = cpu_us(ways, requests)
    asyncio.run(spans.close())
    return found


def answered(now: float) -> Answer:
    """Return the answer of a request of `PRODUCTS` products that took 4 ms until `now`."""
    import numpy as np

    from ranker.ranking.answer import Answer
    from ranker.ranking.timings import Moments
    from ranker.vectors.rows import Features, Rows

    products, user = (Rows(np.zeros((n, 1), np.float32), np.zeros(n, np.uint8), True) for n in (PRODUCTS, 1))
    moments = Moments(now - 0.004, now - 0.0039, now - 0.003, now - 0.0029, now - 0.001, now - 0.0005)
    scores = np.zeros(PRODUCTS, np.float32)
    features = Features(user, products, PRODUCTS + 1)
    return Answer([], scores, [], None, features, scores, moments, np.zeros((PRODUCTS, 128), np.float32))


def cpu_us(ways: Mapping[str, Callable[[int], Any]], requests: int) -> dict[str, float]:
    """Call each way once for each of so many requests; return the microseconds of CPU that one takes.

    The fastest repeats say what it costs; what is slower was disturbed. Spans are exported by a thread, which counts.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            began = process_time()
            for i in range(requests):
                way(i)
            taken[name].append((process_time() - began) / requests * 1e6)
    return {name: statistics.median(sorted(values)[:3]) for name, values in taken.items()}


if __name__ == "__main__":
    main()
