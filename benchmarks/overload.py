"""Measures goodput under overload: full answers and their latency when up to three times too much is asked.

    python -m benchmarks.overload [--runner service|local] [--rounds 3] [--seconds 10] [NAME=VALUE ...]

In each round, first the most the service can do: 500 requests in flight, closed loop, none of which may be refused.
Then open loops: at 0.8 of that, which it can sustain, and at twice and three times as much; then the most again, for a
machine's speed changes within minutes, and each open loop is compared with the mean of the two. Goodput counts full
answers (200, not degraded) a second; their latency counts from the intended send time. The service has all cores but
the last, which the generator has, so that it has the same cores however much is asked; with one core neither is bound
to any. NAME=VALUE sets the service's environment. The last line has the medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from statistics import mean, median
from typing import Any

from benchmarks.harness.cells import Measurement
from benchmarks.harness.contender import Contender, ranker
from benchmarks.harness.load import closed_loop, run_generator
from benchmarks.harness.machine import load_average
from benchmarks.harness.processes import Running, end_when_told, running
from benchmarks.harness.surroundings import Surroundings, prepared

IN_FLIGHT = 500
FACTORS = (0.8, 1.6, 2.4)

Figures = dict[str, Any]


def main() -> None:
    """Print one line of JSON for each load, and one of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runner", choices=("service", "local"), default="service")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE")
    arguments = parser.parse_args()
    settings = dict(setting.split("=", 1) for setting in arguments.settings)
    show({"load_average_before": load_average(), "runner": arguments.runner, **settings})
    rounds: list[list[Figures]] = []
    with prepared() as around:
        contender = leave_last_core(ranker(arguments.runner).varied(**settings))
        with running(contender, around) as service:
            most = measure_most(service, around, arguments.seconds)
            for _ in range(arguments.rounds):
                loads = [open_loop(service, around, factor * most.rps, arguments.seconds) for factor in FACTORS]
                before, most = most, measure_most(service, around, arguments.seconds)
                rounds.append([compare(load, before, most) for load in loads])
                for figures in rounds[-1]:
                    show(figures)
    show({"medians": [take_medians(loads) for loads in zip(*rounds, strict=True)]})


def leave_last_core(contender: Contender) -> Contender:
    """Leave the last core to this process and the generators it starts, where there are several."""
    if not hasattr(os, "sched_setaffinity") or len(cores := sorted(os.sched_getaffinity(0))) < 2:
        return contender
    os.sched_setaffinity(0, cores[-1:])
    return replace(contender, command=("taskset", "-c", ",".join(map(str, cores[:-1])), *contender.command))


def measure_most(service: Running, around: Surroundings, seconds: float) -> Measurement:
    """Measure the most that the service can do."""
    most = closed_loop(service, around, around.bodies(), IN_FLIGHT, seconds, warm_up_s=3)
    named = ("rps", "p50_ms", "p99_ms", "errors", "degraded", "generator_cores", "others_cores")
    show({"in_flight": IN_FLIGHT, **{name: getattr(most, name) for name in named}})
    return most


def open_loop(service: Running, around: Surroundings, rate: float, seconds: float) -> Figures:
    """Send so many requests a second; return what became of them."""
    used = service.cpu_s()
    figures = run_generator(service, around.bodies(), rate, seconds)
    return {
        "rps": rate,
        "goodput": figures["good"] / seconds,
        "good_p99_ms": figures["good_p99_ms"],
        "refused": figures["status"],
        "degraded": figures["degraded"],
        "socket_errors": figures["socket"],
        "cores": (service.cpu_s() - used) / seconds,
        "generator_late_p99_ms": figures["late_p99_ms"],
    }


def compare(load: Figures, before: Measurement, after: Measurement) -> Figures:
    """Return an open loop's figures, with those relative to the most that was measured before and after it."""
    rps, p99_ms = mean((before.rps, after.rps)), mean((before.p99_ms, after.p99_ms))
    return {
        "offered_of_most": load["rps"] / rps,
        "goodput_of_most": load["goodput"] / rps,
        "good_p99_of_most": load["good_p99_ms"] / p99_ms,
        **load,
    }


def take_medians(loads: tuple[Figures, ...]) -> Figures:
    """Return the median of each figure."""
    return {name: median(load[name] for load in loads) for name in loads[0]}


def show(figures: Mapping[str, Any]) -> None:
    """Print a line of JSON."""
    print(json.dumps(_rounded(figures)), flush=True)


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return round(value, 2) if isinstance(value, float) else value


if __name__ == "__main__":
    end_when_told()
    main()
