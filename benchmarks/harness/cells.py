"""Measurements and cells: one contender under one load, and rounds of that as one cell of the result. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Measurement:
    """One contender under one load, once.

    Attributes:
        rps: Answers with status 200 a second.
        p50_ms: Median latency; closed loop: of all answers, from sending; open loop: from the intended send time.
        p99_ms: 99th percentile.
        p999_ms: 99.9th percentile.
        max_ms: The slowest.
        errors: Answers other than 200, socket errors, requests not sent, and degraded answers.
        degraded: Degraded answers among the errors.
        requests: Answers of any status.
        seconds: How long was measured.
        cpu_s_per_1000: User and system CPU seconds of the contender's processes, per 1,000 answers.
        redis_cpu_s_per_1000: The same of Redis.
        rss_mb: Resident memory of the contender's processes, afterwards; what they share counts in each.
        processes_mb: The same by process.
        generator_cores: Cores that the load generator kept busy.
        others_cores: Cores that were busy with none of the above: somebody else's work. Much of it spoils the figures.
        late_p99_ms: Open loop: how long after its intended time a request was sent; None in the closed loop.
    """

    rps: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    errors: int
    degraded: int
    requests: int
    seconds: float
    cpu_s_per_1000: float
    redis_cpu_s_per_1000: float
    rss_mb: float
    processes_mb: dict[str, float] = field(default_factory=dict)
    generator_cores: float = 0.0
    others_cores: float = 0.0
    late_p99_ms: float | None = None


SUMMED = ("errors", "degraded", "requests", "seconds")
SPREAD = ("rps", "p99_ms")


def merge(rounds: Sequence[Measurement]) -> dict[str, Any]:
    """Return one cell: medians over the rounds, totals of what is counted, and the spread of `SPREAD`.

    Raises:
        ValueError: there are no rounds.
    """
    if not rounds:
        raise ValueError("no rounds to merge")
    cell: dict[str, Any] = {}
    for name in (f.name for f in fields(Measurement)):
        values = [getattr(m, name) for m in rounds]
        if name in SUMMED:
            cell[name] = _rounded(sum(values))
        elif name == "processes_mb":
            cell[name] = values[-1]
        elif None not in values:
            cell[name] = _rounded(median(values))
    cell["rounds"] = len(rounds)
    if len(rounds) > 1:
        cell["spread"] = {name: _spread([getattr(m, name) for m in rounds]) for name in SPREAD}
    return cell


def _spread(values: Sequence[float]) -> list[float]:
    return [_rounded(min(values)), _rounded(max(values))]


def _rounded(value: Any) -> Any:
    """Drop the digits that say nothing."""
    if not isinstance(value, float):
        return value
    return round(value, 1) if abs(value) >= 1000 else round(value, 4)
