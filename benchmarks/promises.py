"""Measures what the comparison does not show: promises of this project about single requests and long runs.

    python -m benchmarks.promises [--runners service,local] [--soak-s 300] [--out DIRECTORY]

- first: the first requests after the start, the products in the cache, beside those after a thousand others.
- mixed: requests with few products, alone and beside requests with many.
- fresh: from the moment Redis has acknowledged a feature to the answer with the first ranking that shows it.
- legacy: a store of JSON inside JSON, the cache warm: 500 requests in flight, then a steady rate.
- soak: minutes at a steady rate: how late the event loop was, how long collections took, whether memory grew.

The service is set up as it is unless told otherwise: with an API worker for each core, unlike in the comparison.
Writes `promises.json`. What it does not measure: a network, and a heavier model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from redis import Redis

from benchmarks.harness import machine, workload
from benchmarks.harness.asking import Ask, asking
from benchmarks.harness.cells import Measurement
from benchmarks.harness.contender import ranker
from benchmarks.harness.load import WRK_LUA, closed_loop, find_wrk, last_json, open_loop
from benchmarks.harness.processes import Running, ask, end_when_told, running
from benchmarks.harness.surroundings import PROJECT, Surroundings, prepared
from benchmarks.run import RESULTS
from ranker.demo import synthetic
from ranker.vectors.stored.encoding import encode

Result = dict[str, Any]

FIRST, STEADY = 5, 1000
FEW, MANY, LONG_IN_FLIGHT = 10, 1000, 8
MIXED_S = 10.0
WRITES, WRITE_PAUSE_S = 300, 0.02
STALE_S = 5.0
"""A write that no ranking shows for so long is lost, not late."""
LEGACY_IN_FLIGHT, LEGACY_S = 500, 10.0
RATE = 300.0
SETTLED_S = 60.0
"""Memory of the first minute is not compared: caches fill, allocators grow."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all promises in each shape."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.promises")
    parser.add_argument("--runners", default="service,local")
    parser.add_argument("--soak-s", type=float, default=300.0, help="beyond the first minute; 0 leaves it out")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    with prepared() as around:
        result: Result = {
            "commit": machine.commit(),
            "machine": machine.machine(),
            "versions": machine.versions(around.redis_url(database=workload.DB_BINARY)),
            "model_call_2048_rows_ms": _model_call_ms(around, 2048),
        }
        for runner in options.runners.split(","):
            found = result[f"ranker-{runner}"] = {}
            plain = ranker(runner).varied(RANKER_WORKERS="auto")
            warmed = plain.varied(RANKER_WARM_PRODUCTS=str(_product_ids(around)))
            for name, contender, measure in (
                ("first", warmed, first),
                ("mixed", plain, mixed),
                ("fresh", plain, fresh),
                ("legacy", plain.varied(store="json"), legacy),
            ):
                with running(contender, around) as started:
                    found[name] = measure(started, around)
                _say(runner, name, found[name])
            if options.soak_s:
                with running(plain, around) as started:
                    found["soak"] = soak(started, around, options.soak_s)
                _say(runner, "soak", found["soak"])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "promises.json").write_text(json.dumps(result, indent=1) + "\n")
    return 0


def first(started: Running, around: Surroundings) -> Result:
    """Time the first requests of a worker that has filled its cache, and others after a thousand."""
    bodies = _bodies(around, workload.PRODUCTS_PER_REQUEST)
    with asking(started) as timed:
        early = [timed(body) for body in islice(bodies, FIRST)]
        for body in islice(bodies, STEADY):
            timed(body)
        late = [timed(body) for body in islice(bodies, STEADY // 2)]
    return {"first_ms": [round(s * 1e3, 2) for s in early], "later": _percentiles(late)}


def mixed(started: Running, around: Surroundings) -> Result:
    """Time short requests, one after the other: alone, then beside a closed loop of long ones."""
    bodies = _bodies(around, FEW)
    command = [find_wrk(), "-t1", f"-c{LONG_IN_FLIGHT}", f"-d{MIXED_S + 4:.0f}s", "--timeout", "20s"]
    command += ["-s", str(WRK_LUA), f"http://127.0.0.1:{started.port}", "--", str(around.bodies(MANY))]
    with asking(started) as timed:
        _for(1.0, timed, bodies)
        alone = _for(MIXED_S, timed, bodies)
        long = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        try:
            _for(2.0, timed, bodies)
            beside = _for(MIXED_S, timed, bodies)
        finally:
            output, _ = long.communicate(timeout=60)
    long_ones = {name: last_json(output)[name] for name in ("requests", "status", "socket", "p50_ms", "p99_ms")}
    return {"alone": _percentiles(alone), "beside_long_ones": _percentiles(beside), "long_ones": long_ones}


def fresh(started: Running, around: Surroundings) -> Result:
    """Write features, one after the other, and rank until the score changes."""
    schema, product = synthetic.schema(), synthetic.product_ids(1)[0]
    body = json.dumps({"requestId": "f", "userId": synthetic.user_ids(1)[0], "productIds": [product]}).encode()
    rows = np.random.default_rng(workload.SEED).standard_normal((WRITES, synthetic.WIDTH), dtype=np.float32)
    times_s, late, lost = [], 0, 0

    def score() -> float:
        return float(json.loads(started.post(body)[1])["scores"][0])

    with Redis.from_url(around.redis_url(database=workload.DB_BINARY)) as client:
        for vector in encode(rows, schema.fingerprint):
            before = score()
            client.set(f"product:{product}", vector)
            acknowledged = time.perf_counter()
            asked = 1
            while score() == before and time.perf_counter() < acknowledged + STALE_S:
                asked += 1
            times_s.append(time.perf_counter() - acknowledged)
            late += asked > 1
            lost += times_s[-1] >= STALE_S
            time.sleep(WRITE_PAUSE_S)
        client.set(f"product:{product}", encode(around.products[:1], schema.fingerprint)[0])
    return {"lost": lost, "not_in_the_next_ranking": late, "until_answered": _percentiles(times_s)}


def legacy(started: Running, around: Surroundings) -> Result:
    """Put load on a shape that reads JSON inside JSON."""
    bodies = around.bodies()
    closed = closed_loop(started, around, bodies, LEGACY_IN_FLIGHT, LEGACY_S, warm_up_s=3)
    steady = open_loop(started, around, bodies, RATE, LEGACY_S, warm_up_s=1)
    return {f"{LEGACY_IN_FLIGHT} in flight": _figures(closed), f"{RATE:g} a second": _figures(steady)}


def soak(started: Running, around: Surroundings, seconds: float) -> Result:
    """Hold a steady rate; compare the worker's own histograms and its memory with those after the first minute."""
    bodies = around.bodies()
    open_loop(started, around, bodies, RATE, SETTLED_S, 0)
    before, memory_before = _histograms(started), started.memory_mb()
    measured = open_loop(started, around, bodies, RATE, seconds, 0)
    after, memory_after = _histograms(started), started.memory_mb()
    grown = {name: round(memory_after[name] / mb - 1, 4) for name, mb in memory_before.items() if name in memory_after}
    return {
        "rate": RATE,
        "seconds": seconds,
        **_figures(measured),
        "loop_lag_s": _between(before, after, "ranker_loop_lag_seconds"),
        "gc_pause_s": _between(before, after, "ranker_gc_pause_seconds"),
        "memory_mb": memory_after,
        "memory_growth": grown,
    }


def _figures(m: Measurement) -> Result:
    names = ("rps", "errors", "p50_ms", "p99_ms", "max_ms", "others_cores")
    return {name: round(getattr(m, name), 2) for name in names}


def _say(runner: str, name: str, found: Result) -> None:
    print(f"ranker-{runner} {name}: {json.dumps(found)}", flush=True)


def _bodies(around: Surroundings, products: int) -> Iterator[bytes]:
    return cycle(around.bodies(products).read_bytes().splitlines())


def _product_ids(around: Surroundings) -> Path:
    path = around.directory / "product-ids"
    path.write_text("\n".join(synthetic.product_ids(len(around.products))))
    return path


def _for(seconds: float, timed: Ask, bodies: Iterable[bytes]) -> list[float]:
    end, latencies = time.perf_counter() + seconds, []
    for body in bodies:
        latencies.append(timed(body))
        if time.perf_counter() > end:
            break
    return latencies


def _percentiles(seconds: Sequence[float]) -> Result:
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
    return {"n": len(seconds), "p50_ms": round(p50, 2), "p99_ms": round(p99, 2), "max_ms": round(max(seconds) * 1e3, 2)}


def _histograms(started: Running) -> dict[str, float]:
    """Return every bucket of the worker's metrics, once it has written what it noted."""
    lines = ask(started.port, "GET", "/metrics")[1].decode().splitlines()
    return {name: float(value) for name, _, value in (x.rpartition(" ") for x in lines if "_bucket{" in x)}


def _between(before: dict[str, float], after: dict[str, float], histogram: str) -> dict[str, int]:
    """Return upper bound → observations between two looks, over all labels."""
    cumulative: dict[float, float] = {}
    for name, value in after.items():
        if name.startswith(histogram):
            bound = float(name.partition('le="')[2].partition('"')[0])
            cumulative[bound] = cumulative.get(bound, 0.0) + value - before.get(name, 0.0)
    counts, below = {}, 0.0
    for bound in sorted(cumulative):
        if cumulative[bound] > below:
            counts[f"{bound:g}"] = round(cumulative[bound] - below)
        below = cumulative[bound]
    return counts


def _model_call_ms(around: Surroundings, rows: int) -> float:
    """Return the median of one call of the model with so many rows."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(around.model_file), options, providers=["CPUExecutionProvider"])
    matrix = np.zeros((rows, 2 * synthetic.WIDTH), dtype=np.float32)
    times_s = []
    for _ in range(50):
        began = time.perf_counter()
        session.run(None, {"features": matrix})
        times_s.append(time.perf_counter() - began)
    return round(float(np.median(times_s)) * 1e3, 3)


if __name__ == "__main__":
    end_when_told()
    sys.exit(main())
