"""Measures every contender side by side; writes JSON, a table and plots.

    python -m benchmarks.run [--quick] [--contenders a,b] [--rounds N] [--out DIRECTORY]

Closed loop in rounds that alternate, each contender in fresh processes; then the open loop; then the sweeps; then what
the metrics and timings cost that are on by default.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import sweeps
from benchmarks.harness import answers, machine, workload
from benchmarks.harness.cells import Measurement, merge
from benchmarks.harness.contender import CONTENDERS, Contender
from benchmarks.harness.load import closed_loop, find_wrk, last_json, open_loop
from benchmarks.harness.processes import ContenderFailed, Running, running
from benchmarks.harness.surroundings import PROJECT, Surroundings, prepared
from benchmarks.plan import FULL, QUICK, Plan
from benchmarks.reporting import report

RESULTS = Path(__file__).parent / "results"
HEADROOM = 1.05
"""A contender is asked for the open loop's rate only when its measured maximum is this much above it."""


class Run:
    """One run: what is measured, and what went wrong.

    Args:
        around: What the contenders need.
        plan: How much.
        contenders: Whom.
    """

    def __init__(self, around: Surroundings, plan: Plan, contenders: Sequence[Contender]) -> None:
        self._around = around
        self._plan = plan
        self._contenders = list(contenders)
        self._began = time.monotonic()
        self._closed: dict[str, dict[int, list[Measurement]]] = {c.name: {} for c in contenders}
        self._open: dict[str, dict[str, dict[str, Any]]] = {c.name: {} for c in contenders}
        self.failed: dict[str, str] = {}
        self.sweeps: sweeps.Sweeps = {}

    def measure(self) -> None:
        """Measure all that is planned."""
        for round_number in range(1, self._plan.rounds + 1):
            for contender in self._contenders:
                self._guarded(contender, f"round {round_number}", self._closed_loop)
        for contender in self._contenders:
            if self._rates(contender):
                self._guarded(contender, "open loop", self._open_loop)
        if self._plan.sweep_s:
            try:
                self.sweeps = sweeps.run(self._around, self._plan, self._say)
            except ContenderFailed as err:
                self.failed["sweeps"] = str(err)

    def contenders(self) -> dict[str, dict[str, Any]]:
        """Return the result by contender."""
        return {
            name: {
                "closed": {str(level): merge(rounds) for level, rounds in levels.items()},
                "open": self._open[name],
            }
            for name, levels in self._closed.items()
            if levels
        }

    def _guarded(self, contender: Contender, what: str, measure: Callable[[Contender, Running], None]) -> None:
        """Start a contender, check its answers and measure; one that fails does not end the run."""
        if contender.name in self.failed:
            return
        self._say(f"{what}: {contender.name}")
        try:
            with running(contender, self._around) as started:
                answers.check(contender.name, started, self._around)
                measure(contender, started)
        except (ContenderFailed, RuntimeError, OSError) as err:
            self.failed[contender.name] = str(err)
            self._say(f"FAILED {err}")

    def _closed_loop(self, contender: Contender, started: Running) -> None:
        plan, bodies = self._plan, self._around.bodies()
        for level in plan.levels:
            measured = closed_loop(started, self._around, bodies, level, plan.closed_s, plan.warm_up_s)
            self._closed[contender.name].setdefault(level, []).append(measured)
            self._say_measured(f"{level} in flight", measured)

    def _open_loop(self, contender: Contender, started: Running) -> None:
        plan, bodies = self._plan, self._around.bodies()
        for name, (rate, seconds) in self._rates(contender).items():
            measured = open_loop(started, self._around, bodies, rate, seconds, plan.warm_up_s)
            self._open[contender.name][name] = {"rate": round(rate, 1), **merge([measured])}
            self._say_measured(f"{name} = {rate:.0f}/s", measured)

    def _rates(self, contender: Contender) -> dict[str, tuple[float, float]]:
        """Return name → (requests a second, seconds) of what to ask of a contender in the open loop."""
        levels = [merge(rounds) for rounds in self._closed[contender.name].values()]
        maximum = max((cell["rps"] for cell in levels if not cell["errors"]), default=0.0)
        rates = {}
        if maximum >= self._plan.open_rate * HEADROOM:
            rates[f"{self._plan.open_rate:g}"] = (self._plan.open_rate, self._plan.open_s)
        if maximum:
            rates |= {f"{share:.0%}": (share * maximum, self._plan.fraction_s) for share in self._plan.fractions}
        return rates

    def _say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began:6.0f} s] {text}", flush=True)

    def _say_measured(self, load: str, m: Measurement) -> None:
        figures = f"{m.rps:7.0f}/s  p50 {m.p50_ms:8.2f}  p99 {m.p99_ms:8.2f}  max {m.max_ms:8.1f} ms"
        costs = f"CPU {m.cpu_s_per_1000:.2f} s/1000  others' cores {m.others_cores:.2f}"
        self._say(f"    {load:>16}: {figures}  errors {m.errors}  {costs}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 when every contender was measured."""
    options = _parse(arguments)
    try:
        find_wrk()
    except FileNotFoundError as err:
        print(err, file=sys.stderr)
        return 2
    plan = QUICK if options.quick else FULL
    if options.rounds:
        plan = replace(plan, rounds=options.rounds)
    if options.levels:
        plan = replace(plan, levels=options.levels)
    if options.seconds:
        plan = plan.lasting(options.seconds)
    load_before = machine.load_average()
    with prepared() as around:
        run = Run(around, plan, [CONTENDERS[name] for name in options.contenders])
        run.measure()
        result = {
            "commit": machine.commit(),
            "machine": machine.machine() | {"load_average_before": load_before},
            "versions": machine.versions(around.redis_url(database=0)),
            "command": command(sys.argv[1:] if arguments is None else arguments),
            "settings": {**asdict(plan), **workload.SETTINGS},
            "contenders": run.contenders(),
            "sweeps": run.sweeps,
            "observing": measure_observing(run.contenders()),
            "failed": run.failed,
        }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "latest.json").write_text(json.dumps(result, indent=1) + "\n")
    report.write(result, options.out)
    print(f"\n{report.closed_table(result)}\n")
    return 1 if run.failed else 0


def measure_observing(contenders: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return what the metrics and timings that are on by default cost, by contender of this project.

    In microseconds of CPU, measured for itself, and as a share of a request's CPU at the highest throughput.
    """
    found = {}
    for name, contender in contenders.items():
        if CONTENDERS[name].is_ranker:
            best = max(contender["closed"].values(), key=lambda cell: float(cell["rps"]))
            request_us = 1000 * best["cpu_s_per_1000"]
            words = [sys.executable, "-m", "benchmarks.micro.observability", "--requests", "5000"]
            words += ["--request-us", f"{request_us:g}"]
            done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=True)
            figures = last_json(done.stdout)
            found[name] = {"request_us": request_us, "us": figures["default_us"], "share": figures["share_of_request"]}
    return found


def command(arguments: Sequence[str]) -> str:
    """Return what was called, without where the results went: that is a path of this machine."""
    words = ["python -m benchmarks.run"]
    skip = False
    for word in arguments:
        if not skip and not word.startswith("--out"):
            words.append(word)
        skip = word == "--out"
    return " ".join(words)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few minutes: fewer levels, one round, no sweeps")
    parser.add_argument("--contenders", type=_names, default=list(CONTENDERS), help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--rounds", type=int, help="how often each contender is started anew")
    parser.add_argument("--levels", type=_levels, help="requests in flight, as in 1,64")
    parser.add_argument("--seconds", type=float, help="of each measurement")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    return parser.parse_args(arguments)


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in CONTENDERS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(CONTENDERS)}")
    return names


def _levels(text: str) -> tuple[int, ...]:
    return tuple(int(level) for level in text.split(","))


def _end(signum: int, _: FrameType | None) -> None:
    """End as an exception does, so that the contenders, Redis and the temporary directory go too."""
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
