"""Puts load on a running contender and measures it: wrk for the closed loop, our generator for the open one."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.harness.cells import Measurement
from benchmarks.harness.processes import Running, ask, cpu_s
from benchmarks.harness.surroundings import PROJECT, Surroundings

WRK_LUA = Path(__file__).parent / "wrk.lua"
ANSWER_TIMEOUT_S = 20
"""wrk's default of 2 s would turn the slow answers of a saturated service into errors, out of the percentiles."""
SLACK_S = 60.0


def find_wrk() -> str:
    """Return the path of wrk.

    Raises:
        FileNotFoundError: it is not installed; says how to get it.
    """
    if path := shutil.which("wrk"):
        return path
    raise FileNotFoundError(
        "wrk is not installed; on Debian and Ubuntu: apt-get install wrk, on macOS: brew install wrk"
    )


def closed_loop(
    contender: Running, around: Surroundings, bodies: Path, in_flight: int, seconds: float, warm_up_s: float
) -> Measurement:
    """Keep so many requests in flight, each followed by the next; measure after the warm-up."""

    def run(duration_s: float) -> Mapping[str, Any]:
        command = [find_wrk(), "-t1", f"-c{in_flight}", f"-d{max(round(duration_s), 1)}s"]
        command += ["--timeout", f"{ANSWER_TIMEOUT_S}s", "-s", str(WRK_LUA), f"http://127.0.0.1:{contender.port}"]
        return last_json(_output([*command, "--", str(bodies)], duration_s))

    if warm_up_s:
        run(warm_up_s)
    return _measured(contender, around, lambda: run(seconds))


def open_loop(
    contender: Running, around: Surroundings, bodies: Path, rate: float, seconds: float, warm_up_s: float
) -> Measurement:
    """Send so many requests a second, whatever becomes of them; measure after the warm-up."""
    if warm_up_s:
        run_generator(contender, bodies, rate, warm_up_s)
    return _measured(contender, around, lambda: run_generator(contender, bodies, rate, seconds))


def run_generator(contender: Running, bodies: Path, rate: float, seconds: float) -> dict[str, Any]:
    """Send so many requests a second; return what the generator said."""
    command = [sys.executable, "-m", "benchmarks.harness.generator", "--port", str(contender.port)]
    command += ["--bodies", str(bodies), "--rate", f"{rate:g}", "--seconds", f"{seconds:g}"]
    return last_json(_output(command, seconds))


def last_json(output: str) -> dict[str, Any]:
    """Return the line of JSON that a generator printed last.

    Raises:
        ValueError: there is none.
    """
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            parsed: dict[str, Any] = json.loads(line)
            return parsed
    raise ValueError(f"the generator printed no result: {output[-500:]!r}")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds used so far; the difference of two is what a measurement took.

    Attributes:
        contender: By the contender's processes.
        redis: By Redis.
        generator: By the generators that have ended.
        machine: By all processes of the machine.
        at: When, on the monotonic clock.
    """

    contender: float
    redis: float
    generator: float
    machine: float
    at: float

    @classmethod
    def read(cls, contender: Running, around: Surroundings) -> Usage:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        times = psutil.cpu_times()
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
        return cls(
            contender.cpu_s(),
            cpu_s(around.redis),
            children.ru_utime + children.ru_stime,
            busy - getattr(times, "guest_nice", 0.0),
            time.monotonic(),
        )

    def since(self, before: Usage) -> Usage:
        """Return what was used between the two."""
        pairs = zip(astuple(self), astuple(before), strict=True)
        return Usage(*(later - earlier for later, earlier in pairs))


def measurement(figures: Mapping[str, Any], *, used: Usage, degraded: int, memory_mb: dict[str, float]) -> Measurement:
    """Make a measurement of what a generator said and what was counted beside it."""
    requests = int(figures["requests"])
    degraded = max(degraded, int(figures.get("degraded", 0)))
    per_1000 = 1000 / max(requests, 1)
    return Measurement(
        rps=(requests - int(figures["status"])) / figures["seconds"],
        p50_ms=figures["p50_ms"],
        p99_ms=figures["p99_ms"],
        p999_ms=figures["p999_ms"],
        max_ms=figures["max_ms"],
        errors=int(figures["status"]) + int(figures["socket"]) + degraded,
        degraded=degraded,
        requests=requests,
        seconds=figures["seconds"],
        cpu_s_per_1000=used.contender * per_1000,
        redis_cpu_s_per_1000=used.redis * per_1000,
        rss_mb=sum(memory_mb.values()),
        processes_mb=memory_mb,
        generator_cores=used.generator / used.at,
        others_cores=max(used.machine - used.contender - used.redis - used.generator, 0.0) / used.at,
        late_p99_ms=figures.get("late_p99_ms"),
    )


def degraded_total(metrics: str) -> int:
    """Return the degraded answers that Prometheus text counts; 0 for a service that counts none."""
    lines = (line for line in metrics.splitlines() if line.startswith("ranker_degraded_total"))
    return round(sum(float(line.rsplit(" ", 1)[1]) for line in lines))


def _measured(contender: Running, around: Surroundings, run: Callable[[], Mapping[str, Any]]) -> Measurement:
    degraded, before = _degraded(contender), Usage.read(contender, around)
    figures = run()
    used = Usage.read(contender, around).since(before)
    degraded = _degraded(contender) - degraded
    return measurement(figures, used=used, degraded=degraded, memory_mb=contender.memory_mb())


def _degraded(contender: Running) -> int:
    if not contender.counts_degraded:
        return 0
    status, body = ask(contender.port, "GET", "/metrics", timeout_s=ANSWER_TIMEOUT_S)
    return degraded_total(body.decode()) if status == 200 else 0


def _output(command: list[str], duration_s: float) -> str:
    done = subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, timeout=duration_s + SLACK_S, check=False
    )
    if done.returncode:
        raise RuntimeError(
            f"{Path(command[0]).name} ended with {done.returncode}: {(done.stderr or done.stdout)[-500:]}"
        )
    return done.stdout
