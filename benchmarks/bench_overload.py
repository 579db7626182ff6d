"""What becomes of full answers when three times too much is asked.

    python -m benchmarks.bench_overload [--runner service|local] [--seconds 10] [NAME=VALUE ...]

First the most the service can do: 500 requests in flight, closed loop, none of which may be refused. Then open loops on
the same processes: at 0.8 of that, which it can sustain, and at twice and three times as much. Goodput counts full
answers (200, not degraded) a second; their latency counts from the intended send time. The generator shares the cores
with the service, and needs most of one at three times the rate, so the service gets less than it had for its most:
`goodput_of_most_for_the_same_cpu` says what share of its CPU time went into full answers. NAME=VALUE sets the service's
environment.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.contender import ranker
from benchmarks.load import closed_loop, last_json
from benchmarks.machine import load_average
from benchmarks.processes import Running, running
from benchmarks.surroundings import PROJECT, Surroundings, prepared

IN_FLIGHT = 500
FACTORS = (0.8, 1.6, 2.4)


def main() -> None:
    """Print one line of JSON for each load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runner", choices=("service", "local"), default="service")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE")
    arguments = parser.parse_args()
    settings = dict(setting.split("=", 1) for setting in arguments.settings)
    print(json.dumps({"load_average_before": load_average(), "runner": arguments.runner, **settings}))
    with prepared() as around, running(ranker(arguments.runner).varied(**settings), around) as service:
        most = closed_loop(service, around, around.bodies(), IN_FLIGHT, arguments.seconds, warm_up_s=3)
        cpu_s = most.cpu_s_per_1000 / 1000
        said: dict[str, Any] = {"in_flight": IN_FLIGHT, "rps": most.rps, "p50_ms": most.p50_ms, "p99_ms": most.p99_ms}
        show(said | {"errors": most.errors, "degraded": most.degraded, "cores": cpu_s * most.rps})
        for factor in FACTORS:
            before = service.cpu_s()
            said = open_loop(service, around, factor * most.rps, arguments.seconds)
            used = service.cpu_s() - before
            show(
                {
                    "offered_of_most": factor,
                    "rps": factor * most.rps,
                    "goodput": said["good"] / arguments.seconds,
                    "goodput_of_most": said["good"] / arguments.seconds / most.rps,
                    "goodput_of_most_for_the_same_cpu": said["good"] * cpu_s / used,
                    "good_p99_ms": said["good_p99_ms"],
                    "refused": said["status"],
                    "degraded": said["degraded"],
                    "socket_errors": said["socket"],
                    "cores": used / arguments.seconds,
                    "generator_late_p99_ms": said["late_p99_ms"],
                }
            )


def show(figures: Mapping[str, Any]) -> None:
    """Print a line of JSON."""
    print(json.dumps({name: round(v, 2) if isinstance(v, float) else v for name, v in figures.items()}), flush=True)


def open_loop(service: Running, around: Surroundings, rate: float, seconds: float) -> dict[str, Any]:
    """Send so many requests a second; return what the generator said."""
    command = [sys.executable, "-m", "benchmarks.generator", "--port", str(service.port)]
    command += ["--bodies", str(around.bodies()), "--rate", f"{rate:g}", "--seconds", f"{seconds:g}"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=seconds + 60, check=True)
    return last_json(done.stdout)


if __name__ == "__main__":
    main()
