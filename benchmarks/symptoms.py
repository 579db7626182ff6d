"""Measures how five troubles show in the header, the metrics and the log, next to a calm service.

    python -m benchmarks.symptoms [--seconds 8] [--rate 150] [--runner service|local] [NAME ...]

Each trouble is made for a short open loop against a service of its own: Redis 40 ms away; a cache that holds nothing;
one request in three with 1,000 products; a model hundreds of times heavier; and four busy loops for each core. Prints
JSON for each, then the table of docs/signatures.md. The machine also runs Redis and the generator, so read which
figures move, not how far.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.harness import delay
from benchmarks.harness.contender import ranker
from benchmarks.harness.load import last_json
from benchmarks.harness.machine import load_average
from benchmarks.harness.processes import Running, ask, end_when_told, running
from benchmarks.harness.surroundings import PROJECT, Surroundings, import_model, prepared
from benchmarks.reporting.symptoms import Samples, figures, slow_lines, symptoms_table, total
from ranker.demo.synthetic import WIDTH

WARM_UP_S = 3.0
REDIS_DELAY_S = 0.04
HIDDEN = 1536
OVERSIZED, ONE_IN = 1000, 3
BUSY_LOOPS = 4 * (os.cpu_count() or 1)
"""Linux shares cores fairly, and a service that needs half a core gets it beside a loop or two."""
WATCHED = {"RANKER_SLOW_MS": "20", "RANKER_LOG_FORMAT": "json"}
NOTHING_KEPT = {"RANKER_CACHE_TTL_S": "0.001", "RANKER_CACHE_USER_TTL_S": "0"}
NAMES = ("calm", "slow Redis", "cold cache", "oversized requests", "slow model", "CPU starvation")


def main() -> None:
    """Make each trouble, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rate", type=float, default=150.0)
    parser.add_argument("--runner", choices=("service", "local"), default="service")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    arguments = parser.parse_args()
    print(json.dumps({"load_average_before": load_average(), **vars(arguments)}))
    seen: dict[str, dict[str, Any]] = {}
    with prepared() as around:
        for name in arguments.names or NAMES:
            seen[name] = signature(name, around, arguments.runner, arguments.rate, arguments.seconds)
            print(json.dumps({"name": name, **seen[name]}), flush=True)
    print(symptoms_table(seen))


def signature(name: str, around: Surroundings, runner: str, rate: float, seconds: float) -> dict[str, Any]:
    """Make one trouble under load, and return what was seen."""
    settings, bodies = dict(WATCHED), around.bodies()
    with ExitStack() as stack:
        if name == "slow Redis":
            settings |= NOTHING_KEPT | {"RANKER_REDIS_URL": stack.enter_context(slow_redis(around))}
        elif name == "cold cache":
            settings |= NOTHING_KEPT
        elif name == "oversized requests":
            bodies = oversized(around)
        elif name == "slow model":
            settings["RANKER_MODEL"] = heavy_model(around)
        service = stack.enter_context(running(ranker(runner).varied(**settings), around))
        generate(service, bodies, rate, WARM_UP_S)
        if name == "CPU starvation":
            stack.enter_context(busy_loops())
        log = around.directory / f"ranker-{runner}.log"
        before, logged = samples(service), len(log.read_bytes())
        with watching(service, bodies) as watched:
            load = generate(service, bodies, rate, seconds)
        time.sleep(1.5)  # the worker writes what it noted once a second
        after = samples(service)
        slow = slow_lines(log.read_bytes()[logged:])
    return figures(before, after) | {
        "generator": {key: load[key] for key in ("p50_ms", "p99_ms", "status", "degraded")},
        **watched,
        "slow_lines": len(slow),
        "slow_line": slow[len(slow) // 2] if slow else None,
    }


@contextmanager
def slow_redis(around: Surroundings) -> Iterator[str]:
    """Yield the URL of a Redis that answers `REDIS_DELAY_S` late."""
    slow = around.directory / "slow.sock"
    with delay.proxy(around.directory / "redis.sock", slow, REDIS_DELAY_S / 2):
        yield f"unix://{slow}"


@contextmanager
def busy_loops() -> Iterator[None]:
    """Keep every core busy within the block."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY_LOOPS)]
    try:
        yield
    finally:
        for process in loops:
            process.kill()
            process.wait()


def oversized(around: Surroundings) -> Path:
    """Return a file of bodies of which one in `ONE_IN` asks for `OVERSIZED` products."""
    short, long = (around.bodies(n).read_text().splitlines() for n in (100, OVERSIZED))
    path = around.directory / "bodies-mixed"
    path.write_text("\n".join(b if i % ONE_IN else long[i % len(long)] for i, b in enumerate(short)) + "\n")
    return path


def heavy_model(around: Surroundings) -> str:
    """Store a model of two wide layers; return its tag."""
    chance = np.random.default_rng(0)
    widths = (2 * WIDTH, HIDDEN, HIDDEN, 1)
    nodes, constants, last = [], [], "features"
    for i, shape in enumerate(pairwise(widths)):
        weights = (chance.standard_normal(shape) * shape[0] ** -0.5).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, f"w{i}"))
        out = "scores" if shape[1] == 1 else f"h{i}"
        nodes.append(helper.make_node("MatMul", [last, f"w{i}"], [out if out == "scores" else f"m{i}"]))
        if out != "scores":
            nodes.append(helper.make_node("Relu", [f"m{i}"], [out]))
        last = out
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])]
        for name, width in (("features", 2 * WIDTH), ("scores", 1))
    ]
    graph = helper.make_graph(nodes, "heavy", *ends, constants)
    path = around.directory / "heavy.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return import_model(around.directory, "heavy", path.name)


def generate(service: Running, bodies: Path, rate: float, seconds: float) -> dict[str, Any]:
    """Send so many requests a second; return what the generator said."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.harness.generator",
        "--port",
        str(service.port),
        "--bodies",
        str(bodies),
    ]
    command += ["--rate", f"{rate:g}", "--seconds", f"{seconds:g}"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=seconds + 60, check=True)
    return last_json(done.stdout)


@contextmanager
def watching(service: Running, bodies: Path) -> Iterator[dict[str, Any]]:
    """Look at gauges and one answer's header twice a second; yields where their most, and the last header, will be."""
    watched: dict[str, Any] = {"in_flight_rows": 0.0, "waiting": {"turn": 0.0, "fetch": 0.0, "score": 0.0}}
    over = threading.Event()
    body = bodies.read_bytes().splitlines()[1]

    def watch() -> None:
        while not over.wait(0.5):
            now = samples(service)
            watched["in_flight_rows"] = max(watched["in_flight_rows"], total(now, "ranker_in_flight_rows"))
            for hop, most in watched["waiting"].items():
                watched["waiting"][hop] = max(most, total(now, "ranker_waiting", hop=hop))
            watched["header"] = ask_server_timing(service, body)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield watched
    finally:
        over.set()
        thread.join()


def ask_server_timing(service: Running, body: bytes) -> str:
    """Return the `Server-Timing` of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    try:
        connection.request("POST", "/predict", body)
        answer = connection.getresponse()
        answer.read()
        return answer.getheader("server-timing") or f"{answer.status}"
    finally:
        connection.close()


def samples(service: Running) -> Samples:
    """Return all samples of `/metrics`."""
    text = ask(service.port, "GET", "/metrics", timeout_s=20)[1].decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


if __name__ == "__main__":
    end_when_told()
    main()
