"""Recording of a load test: latencies, how late requests left, errors, the generator's own CPU time.

Every latency is kept, 8 bytes each (26 MB for an hour at 300 requests a second, with the lateness), so percentiles are
exact; a histogram would only be needed for runs of days. Must not know how requests are sent.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

QUANTILES = {"p50_ms": 50.0, "p90_ms": 90.0, "p99_ms": 99.0, "p999_ms": 99.9, "max_ms": 100.0}
UNANSWERED = "unanswered"
DEGRADED = "degraded"


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of a load test, or of a second of it.

    Attributes:
        requests: That were to be sent.
        errors: Answers with another status than 200, degraded ones, and what was not answered at all; by kind.
        incomplete: Answers that named products without features: not errors, but perhaps the wrong ids.
        seconds: From the first intended send to the last answer.
        latency: Milliseconds by quantile, counted from the intended send; empty without answers.
        good: Full answers: neither refused nor degraded.
        good_p99_ms: The 99th percentile of their latencies alone.
        late_p99_ms: How long after its intended moment the generator got to a request, 99th percentile.
        late_max_ms: The same, at most.
        cpu_share: Of one core, that the generator itself used; the mean where several processes generate.
    """

    requests: int
    errors: Mapping[str, int]
    incomplete: int
    seconds: float
    latency: Mapping[str, float]
    good: int
    good_p99_ms: float
    late_p99_ms: float
    late_max_ms: float
    cpu_share: float

    @property
    def error_rate(self) -> float:
        """The share of requests that failed."""
        return sum(self.errors.values()) / max(self.requests, 1)

    def to_json(self) -> dict[str, Any]:
        """Return it flat, for machines."""
        return {
            "requests": self.requests,
            "errors": dict(self.errors),
            "error_rate": self.error_rate,
            "incomplete": self.incomplete,
            "seconds": self.seconds,
            **self.latency,
            "good": self.good,
            "good_p99_ms": self.good_p99_ms,
            "late_p99_ms": self.late_p99_ms,
            "late_max_ms": self.late_max_ms,
            "generator_cpu_share": self.cpu_share,
        }


class Recording:
    """Collects what happens; parts of it travel between processes and are put together again."""

    def __init__(self) -> None:
        self.latencies_s = array("d")
        self.good_s = array("d")
        self.lateness_s = array("d")
        self.errors: Counter[str] = Counter()
        self.incomplete = 0
        self.cpu_s = 0.0
        self.wall_s = 0.0
        self._drained = time.process_time(), time.perf_counter()

    def answered(self, latency_s: float, status: int, body: bytes) -> str:
        """Record an answer, and return what kind of error it is; empty for a full one."""
        self.latencies_s.append(latency_s)
        error = "" if status == 200 else f"status {status}"
        if not error and b'"degraded":true' in body:
            error = DEGRADED
        if error:
            self.errors[error] += 1
        else:
            self.good_s.append(latency_s)
        if not error or b'"degradedReason":"no_features"' in body:
            self.incomplete += b'"missing":["' in body
        return error

    def unanswered(self, latency_s: float) -> None:
        """Record what nobody answered: it has waited so long at least, which the percentiles must show."""
        self.latencies_s.append(latency_s)
        self.errors[UNANSWERED] += 1

    def drain(self) -> dict[str, Any]:
        """Return what was recorded since the last time, with the CPU time of this process; forget it."""
        now = time.process_time(), time.perf_counter()
        before, self._drained = self._drained, now
        part = {
            "latencies": self.latencies_s.tobytes(),
            "good": self.good_s.tobytes(),
            "lateness": self.lateness_s.tobytes(),
            "errors": dict(self.errors),
            "incomplete": self.incomplete,
            "cpu_s": now[0] - before[0],
            "wall_s": now[1] - before[1],
        }
        del self.latencies_s[:], self.good_s[:], self.lateness_s[:]
        self.errors.clear()
        self.incomplete = 0
        return part

    def extend(self, part: Mapping[str, Any]) -> None:
        """Add what another recording returned."""
        self.latencies_s.frombytes(part["latencies"])
        self.good_s.frombytes(part["good"])
        self.lateness_s.frombytes(part["lateness"])
        self.errors.update(part["errors"])
        self.incomplete += part["incomplete"]
        self.cpu_s += part["cpu_s"]
        self.wall_s += part["wall_s"]

    def figures(self, seconds: float) -> Figures:
        """Return the figures of what was recorded within so many seconds."""
        latencies = np.frombuffer(self.latencies_s.tobytes()) * 1e3
        good = np.frombuffer(self.good_s.tobytes()) * 1e3
        lateness = np.frombuffer(self.lateness_s.tobytes()) * 1e3
        at = np.percentile(latencies, list(QUANTILES.values())).tolist() if len(latencies) else []
        return Figures(
            requests=len(lateness),
            errors=dict(self.errors),
            incomplete=self.incomplete,
            seconds=seconds,
            latency=dict(zip(QUANTILES, at, strict=False)),
            good=len(good),
            good_p99_ms=_p99(good),
            late_p99_ms=_p99(lateness),
            late_max_ms=float(lateness.max()) if len(lateness) else 0.0,
            cpu_share=self.cpu_s / self.wall_s if self.wall_s else 0.0,
        )


def _p99(values_ms: npt.NDArray[np.float64]) -> float:
    return float(np.percentile(values_ms, 99)) if len(values_ms) else 0.0
