"""Verdict on a load test: whether its thresholds held, and whether the generator itself was what limited it."""

from __future__ import annotations

from dataclasses import dataclass

from ranker.loadtest.recording import Figures

MAX_CPU_SHARE = 0.9
"""Share of a core. A generator of one thread that uses more was too slow for the rate."""
MAX_LATE_SHARE = 0.25
"""Share of a p99 that may be the generator's own lateness; a p99 with more of it is not the service's."""
MIN_LATE_MS = 2.0
"""Lateness that any shared machine has, in milliseconds, and that is too short to matter to a page."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits that a run must keep.

    Attributes:
        max_p99_ms: Milliseconds, from the intended send.
        max_error_rate: Share of the requests, 0 to 1.
    """

    max_p99_ms: float
    max_error_rate: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Verdict on a run.

    Attributes:
        held: Whether every threshold held.
        generator_limited: Whether the figures are the generator's as much as the service's.
        line: All that, in one line.
    """

    held: bool
    generator_limited: bool
    line: str


def judge(figures: Figures, rate: float, thresholds: Thresholds, generator: str, own_limit: float = 0.0) -> Verdict:
    """Judge a run.

    Args:
        figures: What came of it.
        rate: Requests a second that were asked for.
        thresholds: What it must keep.
        generator: What sent the requests, for the line.
        own_limit: Requests a second that the generator was found to manage against a service that does nothing; 0 when
            that was not measured.
    """
    failed = sum(figures.errors.values())
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(figures.errors.items()) if count)
    p99_ms = figures.latency.get("p99_ms")
    broken = []
    if not figures.requests:
        broken.append("nothing was sent")
    elif p99_ms is None:
        broken.append("nothing was answered")
    elif p99_ms > thresholds.max_p99_ms:
        broken.append(f"p99 {p99_ms:.1f} ms is above {thresholds.max_p99_ms:g} ms")
    if figures.error_rate > thresholds.max_error_rate:
        broken.append(f"{figures.error_rate:.2%} failed ({kinds}), above {thresholds.max_error_rate:.2%}")
    limited = is_late(figures) or is_short_of_cpu(figures) or 0 < own_limit < rate
    parts = [
        "FAILED: " + "; ".join(broken) if broken else "held",
        f"{figures.requests:,} requests at {rate:g}/s, "
        + (f"p50 {figures.latency['p50_ms']:.1f} ms, p99 {p99_ms:.1f} ms, " if p99_ms is not None else "")
        + f"{failed:,} failed{f' ({kinds})' if failed and not broken else ''}",
        _generator_line(figures, rate, generator, own_limit),
    ]
    return Verdict(not broken, limited, " | ".join(parts))


def is_short_of_cpu(figures: Figures) -> bool:
    """Return whether the generator used all of its core."""
    return figures.cpu_share > MAX_CPU_SHARE


def is_late(figures: Figures) -> bool:
    """Return whether requests left too late for the latencies to be the service's."""
    late_share = figures.late_p99_ms / max(figures.latency.get("p99_ms", 0.0), 1e-9)
    return figures.late_p99_ms > MIN_LATE_MS and late_share > MAX_LATE_SHARE


def _generator_line(figures: Figures, rate: float, generator: str, own_limit: float) -> str:
    alone = f", alone it manages {own_limit:,.0f}/s here" if own_limit else ""
    used = f"({figures.cpu_share:.0%} of a core, {figures.late_p99_ms:.1f} ms late at p99{alone})"
    if is_short_of_cpu(figures) or 0 < own_limit < rate:
        return f"{generator}, not the service, was the bottleneck {used}"
    if is_late(figures):
        return f"{generator} was held up by other work on its machine {used}, so the service may be faster than this"
    return f"{generator} kept up {used}"
