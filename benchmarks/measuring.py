"""Measures the contenders of one profile: rounds of the closed loop, then the open loop, then the sweeps."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks import sweeps
from benchmarks.harness import alone, answers, workload
from benchmarks.harness.cells import Measurement, merge
from benchmarks.harness.contender import CONTENDERS, Contender
from benchmarks.harness.load import closed_loop, last_json, open_loop
from benchmarks.harness.processes import ContenderFailed, Running, running
from benchmarks.harness.surroundings import PROJECT, Surroundings
from benchmarks.plan import Plan

HEADROOM = 1.05
"""A contender is asked for the open loop's rate only when its measured maximum is this much above it."""


class Run:
    """One profile's run: what is measured, and what went wrong.

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
        self._alone: dict[str, list[alone.Figures]] = {c.name: [] for c in contenders}
        self._closed: dict[str, dict[int, list[Measurement]]] = {c.name: {} for c in contenders}
        self._open: dict[str, dict[str, dict[str, Any]]] = {c.name: {} for c in contenders}
        self.failed: dict[str, str] = {}
        self.sweeps: sweeps.Sweeps = {}

    def measure(self) -> dict[str, Any]:
        """Measure all that is planned; return the profile's result."""
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
        profile, contenders = self._around.profile, self.contenders()
        about = {"features": profile.features, "model": profile.model}
        return {
            "settings": {**asdict(self._plan), **workload.SETTINGS, **about},
            "contenders": contenders,
            "sweeps": self.sweeps,
            "observing": measure_observing(contenders) if profile.name == "light" else {},
            "failed": self.failed,
        }

    def contenders(self) -> dict[str, dict[str, Any]]:
        """Return the result by contender."""
        return {
            name: {
                "alone": alone.merge(self._alone[name]),
                "closed": {str(level): merge(rounds) for level, rounds in levels.items()},
                "open": self._open[name],
            }
            for name, levels in self._closed.items()
            if levels
        }

    def _guarded(self, contender: Contender, what: str, measure: Callable[[Contender, Running], None]) -> None:
        """Start a contender and measure; one that fails does not end the run."""
        if contender.name in self.failed:
            return
        self._say(f"{what}: {contender.name}")
        try:
            with running(contender, self._around) as started:
                measure(contender, started)
        except (ContenderFailed, RuntimeError, OSError) as err:
            self.failed[contender.name] = str(err)
            self._say(f"FAILED {err}")

    def _closed_loop(self, contender: Contender, started: Running) -> None:
        plan, bodies = self._plan, self._around.bodies()
        figures = alone.measure(started, self._around)  # before anything is held
        answers.check(contender.name, started, self._around)
        self._alone[contender.name].append(figures)
        self._say(f"    {'one at a time':>16}: {', '.join(f'{name} {value:g}' for name, value in figures.items())}")
        for level in plan.levels:
            measured = closed_loop(started, self._around, bodies, level, plan.closed_s, plan.warm_up_s)
            self._closed[contender.name].setdefault(level, []).append(measured)
            self._say_measured(f"{level} in flight", measured)

    def _open_loop(self, contender: Contender, started: Running) -> None:
        plan, bodies = self._plan, self._around.bodies()
        answers.check(contender.name, started, self._around)
        for name, (rate, seconds) in self._rates(contender).items():
            measured = open_loop(started, self._around, bodies, rate, seconds, plan.warm_up_s)
            self._open[contender.name][name] = {"rate": round(rate, 1), **merge([measured])}
            self._say_measured(f"{name} = {rate:.0f}/s", measured)

    def _rates(self, contender: Contender) -> dict[str, tuple[float, float]]:
        """Return name → (requests a second, seconds) of what to ask of a contender in the open loop."""
        plan = self._plan
        levels = [merge(rounds) for rounds in self._closed[contender.name].values()]
        maximum = max((cell["rps"] for cell in levels if not cell["errors"]), default=0.0)
        rates = {}
        if plan.open_s and maximum >= plan.open_rate * HEADROOM:
            rates[f"{plan.open_rate:g}"] = (plan.open_rate, plan.open_s)
        if maximum:
            rates |= {f"{share:.0%}": (share * maximum, plan.fraction_s) for share in plan.fractions}
        return rates

    def _say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began:6.0f} s] {text}", flush=True)

    def _say_measured(self, load: str, m: Measurement) -> None:
        figures = f"{m.rps:7.0f}/s  p50 {m.p50_ms:8.2f}  p99 {m.p99_ms:8.2f}  max {m.max_ms:8.1f} ms"
        costs = f"CPU {m.cpu_s_per_1000:.2f} s/1000  others' cores {m.others_cores:.2f}"
        self._say(f"    {load:>16}: {figures}  errors {m.errors}  {costs}")


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
