"""Runs the open-loop generator of `ranker.loadtest` against one port of this machine; prints one line of JSON.

A process of its own, so that its CPU time can be told from the rest. Why not k6: see `benchmarks/micro/generators.py`.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from pathlib import Path

from ranker.loadtest.generator import Generator
from ranker.loadtest.recording import DEGRADED, UNANSWERED
from ranker.loadtest.target import Target


def main() -> None:
    """Generate, and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bodies", type=Path, required=True, help="a file with one body a line")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    target = Target.parse(f"http://127.0.0.1:{arguments.port}")
    generator = Generator(target, arguments.bodies.read_bytes().splitlines(), arguments.rate)
    gc.disable()
    began = time.perf_counter()
    generator.run(arguments.seconds)
    elapsed_s = time.perf_counter() - began
    figures = generator.recording.figures(elapsed_s)
    errors = figures.errors
    result = {
        "requests": generator.answers,
        "seconds": elapsed_s,
        "status": sum(count for kind, count in errors.items() if kind.startswith("status")),
        "socket": sum(errors.get(kind, 0) for kind in ("connection", UNANSWERED, "not sent")),
        "not_sent": errors.get("not sent", 0),
        "degraded": errors.get(DEGRADED, 0),
        "retried": generator.retried,
        "good": figures.good,
        "good_p99_ms": figures.good_p99_ms,
        **{name: figures.latency.get(name, 0.0) for name in ("p50_ms", "p99_ms", "p999_ms", "max_ms")},
        "late_p99_ms": figures.late_p99_ms,
        "late_max_ms": figures.late_max_ms,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
