"""Measures the feature log: the CPU of the caller's thread for each request, and of the process for each record.

    python -m benchmarks.micro.feature_log [--requests 3000]

A micro-benchmark in one process: requests of 100 products and 64 + 64 features are offered to a log as a worker does
it, 50 at a time, and never more than it has room for. `caller_us` is the CPU of the thread that serves (all that a
request waits for), `all_us` that of the process with the thread that writes. Products are drawn by a Zipf law, so that
vectors repeat in a file as they do in a shop; `kb` is what a record takes in a file, or in Redis' memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from time import monotonic, process_time, sleep, thread_time
from typing import Any

import numpy as np
from redis import Redis

from ranker.api.predict import PredictRequest
from ranker.demo.redis import EmbeddedRedis
from ranker.ranking.answer import Answer
from ranker.ranking.timings import Moments
from ranker.settings.destination import Stream
from ranker.telemetry.feature_log.log import FeatureLog, Sink
from ranker.telemetry.feature_log.parquet import ParquetSink
from ranker.telemetry.feature_log.stream import StreamSink
from ranker.vectors.rows import Features, Rows
from ranker.vectors.schema import FeatureSchema

PRODUCTS, WIDTH, CATALOGUE, USERS = 100, 64, 10_000, 1000
REPEATS = 3
BURST = 50


def main() -> None:
    """Print one line of JSON for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000)
    requests = parser.parse_args().requests
    made = served(requests)
    with tempfile.TemporaryDirectory(prefix="ranker-") as name:
        folder, server = Path(name), EmbeddedRedis(Path(name))
        server.start()
        try:
            stream = Stream(server.url, "served")
            ways: dict[str, tuple[float, Any]] = {
                "not sampled": (0.0, lambda: ParquetSink(folder / "none", 64 << 20, 300)),
                "files": (100.0, lambda: ParquetSink(folder / "files", 64 << 20, 300)),
                "stream": (100.0, lambda: StreamSink(stream, 10 * requests)),
            }
            for way, (percent, make) in ways.items():
                found = min((costs(make(), percent, made) for _ in range(REPEATS)), key=lambda cost: cost["all_us"])
                print(json.dumps({"way": way, **{key: round(value, 2) for key, value in found.items()}}))
            written = REPEATS * requests
            size = sum(path.stat().st_size for path in (folder / "files").iterdir())
            with Redis.from_url(server.url) as client:
                held = client.memory_usage("served", samples=0)
            print(
                json.dumps({"kb": {"files": round(size / written / 1e3, 1), "stream": round(held / written / 1e3, 1)}})
            )
        finally:
            server.stop()


def served(requests: int) -> list[tuple[PredictRequest, Answer]]:
    """Return requests and their answers, as a worker has them."""
    random = np.random.default_rng(0)
    catalogue = random.normal(size=(CATALOGUE, WIDTH)).astype(np.float32)
    users = random.normal(size=(USERS, WIDTH)).astype(np.float32)
    shares = 1 / np.arange(1, CATALOGUE + 1)
    moments = Moments(0.0, 0.0001, 0.001, 0.0011, 0.003, 0.0031)
    found = np.zeros(PRODUCTS, np.uint8)
    made = []
    for i in range(requests):
        products = random.choice(CATALOGUE, PRODUCTS, replace=False, p=shares / shares.sum())
        ids = [f"product-{product}" for product in products]
        user = users[random.integers(USERS)]
        matrix = np.hstack([np.tile(user, (PRODUCTS, 1)), catalogue[products]])
        scores = matrix[:, -1].copy()
        ranking: Any = [ids[j] for j in (-scores).argsort()]
        rows = Rows(matrix[:, WIDTH:], found, True)
        features = Features(Rows(user[np.newaxis], found[:1], True), rows, PRODUCTS + 1)
        request = PredictRequest(requestId=f"request-{i}", userId=f"user-{i % USERS}", productIds=ids)
        made.append((request, Answer(ranking, scores, [], None, features, scores, moments, matrix)))
    return made


def costs(sink: Sink, percent: float, made: list[tuple[PredictRequest, Answer]]) -> dict[str, float]:
    """Return the microseconds of CPU of a request."""
    groups = {
        "user": {"features": [f"u{i}" for i in range(WIDTH)]},
        "product": {"features": [f"p{i}" for i in range(WIDTH)]},
    }
    log = FeatureLog(sink, "the benchmark", percent, {"a:1": FeatureSchema.from_mapping(groups)}, "default")
    log.start()
    timings = made[0][1].timings(0.004)
    before, caller = process_time(), 0.0
    for start in range(0, len(made), BURST):
        began = thread_time()
        for request, answer in made[start : start + BURST]:
            log.offer(request, "a:1", answer, timings)
        caller += thread_time() - began
        limit = monotonic() + 60
        while log.waiting_bytes and monotonic() < limit:
            sleep(0.02)
    asyncio.run(log.close())
    taken = process_time() - before
    if log.dropped or (percent and log.written != len(made)):
        raise SystemExit(f"{log.dropped} of {len(made)} records were dropped, {log.written} written")
    return {"caller_us": caller / len(made) * 1e6, "all_us": taken / len(made) * 1e6}


if __name__ == "__main__":
    main()
