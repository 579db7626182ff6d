"""Measures two promises for themselves: a steady rate with a heavy model, and a crowd beside a busy neighbour.

    python -m benchmarks.targets open [--profile trees] [--rate 300] [--seconds 60] [--contenders ranker-local]
    python -m benchmarks.targets crowd [--profile light] [--in-flight 500] [--seconds 10] [--rounds 3] [...]

`open`: an open loop, latency counted from the intended send time. `crowd`: a closed loop, alone and with a busy loop
bound to the first core, in turns; what was refused is told by outcome. One API worker, defaults otherwise. Prints one
line of JSON for each measurement, and for `crowd` one of medians.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from statistics import median
from typing import Any

from benchmarks.harness import answers, machine
from benchmarks.harness.cells import Measurement, merge
from benchmarks.harness.contender import CONTENDERS
from benchmarks.harness.load import closed_loop, open_loop
from benchmarks.harness.processes import Running, ask, end_when_told, running
from benchmarks.harness.surroundings import Surroundings, prepared
from benchmarks.profiles.profile import PROFILES

WARM_UP_S = 3.0
METRICS_WAIT_S = 3.0
"""A worker writes what it noted once a second."""
SHOWN = ("rps", "p50_ms", "p99_ms", "p999_ms", "max_ms", "errors", "degraded", "requests", "cpu_s_per_1000")
ALSO_SHOWN = ("generator_cores", "others_cores")
BUSY = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"

Figures = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    options = _parse(arguments)
    _show({"commit": machine.commit(), **machine.machine(), "load_average_before": machine.load_average()})
    with prepared(PROFILES[options.profile]) as around:
        for name in options.contenders.split(","):
            with running(CONTENDERS[name], around) as started:
                answers.check(name, started, around)
                _show({"started": name})
                about = {"contender": name, "profile": options.profile}
                if options.what == "open":
                    measured = open_loop(started, around, around.bodies(), options.rate, options.seconds, WARM_UP_S)
                    _show({**about, "rate": options.rate, **figures(measured)})
                else:
                    for line in crowd(started, around, options.in_flight, options.seconds, options.rounds):
                        _show({**about, "in_flight": options.in_flight, **line})


def crowd(
    started: Running, around: Surroundings, in_flight: int, seconds: float, rounds: int
) -> Iterator[dict[str, Any]]:
    """Keep so many requests in flight, alone and beside a busy loop in turns; yield each, then the medians."""
    taken: dict[str, list[Figures]] = {"alone": [], "busy": []}
    for _ in range(rounds):
        for beside, found in taken.items():
            with busy_neighbour() if beside == "busy" else nullcontext():
                before = outcomes(started)
                measured = closed_loop(started, around, around.bodies(), in_flight, seconds, WARM_UP_S)
                found.append(figures(measured) | {"outcomes": counted(before, outcomes(started))})
            yield {"beside": beside, **found[-1]}
    for beside, found in taken.items():
        medians = {name: round(median(one[name] for one in found), 2) for name in ("rps", "p50_ms", "p99_ms")}
        errors = sum(one["errors"] for one in found)
        yield {"medians": True, "beside": beside, **medians, "errors": errors}


@contextmanager
def busy_neighbour() -> Iterator[None]:
    """Keep the first core busy within the block."""
    core = min(os.sched_getaffinity(0))
    process = subprocess.Popen([sys.executable, "-c", BUSY, str(core)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def figures(measured: Measurement) -> Figures:
    """Return what is shown of a measurement."""
    cell = merge([measured])
    return {name: cell[name] for name in (*SHOWN, *ALSO_SHOWN, "late_p99_ms") if name in cell}


def outcomes(started: Running) -> dict[str, float]:
    """Return how many requests had which outcome, once the worker has written all it noted."""
    deadline = time.monotonic() + METRICS_WAIT_S
    before: dict[str, float] | None = None
    found = outcomes_in(ask(started.port, "GET", "/metrics")[1].decode())
    while found != before and time.monotonic() < deadline:
        before = found
        time.sleep(METRICS_WAIT_S / 2)
        found = outcomes_in(ask(started.port, "GET", "/metrics")[1].decode())
    return found


def outcomes_in(metrics: str) -> dict[str, float]:
    """Return outcome → requests that Prometheus text counts; nothing for a service that counts none."""
    found: dict[str, float] = {}
    for line in metrics.splitlines():
        if line.startswith("ranker_requests_total{"):
            name, _, value = line.rpartition(" ")
            outcome = name.partition('outcome="')[2].partition('"')[0]
            found[outcome] = found.get(outcome, 0.0) + float(value)
    return found


def counted(before: dict[str, float], after: dict[str, float]) -> dict[str, int]:
    """Return how many of each outcome there were between two looks, without those of which there were none."""
    grown = {outcome: round(count - before.get(outcome, 0.0)) for outcome, count in after.items()}
    return {outcome: count for outcome, count in grown.items() if count}


def _show(line: Figures) -> None:
    print(json.dumps(line), flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    for name, profile, seconds in (("open", "trees", 60.0), ("crowd", "light", 10.0)):
        one = what.add_parser(name)
        one.add_argument("--profile", choices=list(PROFILES), default=profile)
        one.add_argument("--contenders", default="ranker-local", help=f"of {', '.join(CONTENDERS)}")
        one.add_argument("--seconds", type=float, default=seconds)
        if name == "open":
            one.add_argument("--rate", type=float, default=300.0)
        else:
            one.add_argument("--in-flight", type=int, default=500)
            one.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    end_when_told()
    main()
