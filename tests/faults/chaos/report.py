"""What a run of chaos comes to: counts, wrong rankings, hangs, how long each trouble's effects lasted."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tests.faults.chaos.load import Outcome
from tests.faults.chaos.truth import Truth


@dataclass(frozen=True)
class Strike:
    """One trouble, by `time.monotonic()`; `watched_until` is when the next one struck."""

    name: str
    began: float
    healed: float
    watched_until: float


@dataclass(frozen=True)
class Conditions:
    """Under which a run was made."""

    seed: int
    rate: float
    deadline_s: float
    hang_s: float
    products: int
    memory_mb_start: dict[str, float]
    memory_mb_end: dict[str, float]


def summarize(outcomes: list[Outcome], strikes: list[Strike], truth: Truth, conditions: Conditions) -> dict[str, Any]:
    """Judge a run; everything in the result goes into JSON."""
    wrong = [o for o in outcomes if o.full and not truth.allows(o)]
    hangs = [o for o in outcomes if o.took_s > conditions.hang_s]
    troubles = [_strike(strike, outcomes) for strike in strikes]
    by_name: dict[str, list[dict[str, Any]]] = {}
    for trouble in troubles:
        by_name.setdefault(trouble["name"], []).append(trouble)
    return {
        "conditions": asdict(conditions),
        "seconds": outcomes[-1].ended - outcomes[0].intended,
        "requests": len(outcomes),
        "answers": dict(Counter(o.kind for o in outcomes).most_common()),
        "wrong_rankings": len(wrong),
        "wrong_examples": [{"answer": o.answer, "took_s": o.took_s} for o in wrong[:3]],
        "hangs": len(hangs),
        "not_recovered": sum(trouble["recovery_s"] is None for trouble in troubles),
        "latency_ms": _latency(outcomes),
        "sent_late_ms_p99": float(np.percentile([o.sent - o.intended for o in outcomes], 99) * 1e3),
        "writes_unacknowledged": truth.unacknowledged,
        "troubles": {name: _together(each) for name, each in by_name.items()},
    }


def _strike(strike: Strike, outcomes: list[Outcome]) -> dict[str, Any]:
    during = [o for o in outcomes if strike.began <= o.intended < strike.healed]
    # What is under way when the next one strikes is not this one's.
    after = [o for o in outcomes if strike.healed <= o.intended and o.ended < strike.watched_until]
    not_full = [o.intended - strike.healed for o in after if not o.full]
    # Recovered is who answered everything in full from some moment to the end of the watch.
    recovered = bool(after) and after[-1].full
    return {
        "name": strike.name,
        "during": Counter(o.kind for o in during),
        "after": Counter(o.kind for o in after if not o.full),
        "longest_ms": max((o.took_s for o in during + after), default=0.0) * 1e3,
        "p50_ms": median(o.took_s for o in during) * 1e3 if during else 0.0,
        "recovery_s": max(not_full, default=0.0) if recovered else None,
    }


def _together(strikes: list[dict[str, Any]]) -> dict[str, Any]:
    recoveries = [strike["recovery_s"] for strike in strikes if strike["recovery_s"] is not None]
    return {
        "times": len(strikes),
        "during": dict(sum((strike["during"] for strike in strikes), Counter())),
        "not_full_after": dict(sum((strike["after"] for strike in strikes), Counter())),
        "p50_ms_during": median(strike["p50_ms"] for strike in strikes),
        "longest_ms": max(strike["longest_ms"] for strike in strikes),
        "recovery_s_median": median(recoveries) if recoveries else None,
        "recovery_s_max": max(recoveries, default=None),
    }


def _latency(outcomes: list[Outcome]) -> dict[str, float]:
    took = np.array([o.took_s for o in outcomes]) * 1e3
    return {f"p{q:g}": float(np.percentile(took, q)) for q in (50, 99, 99.9)} | {"max": float(took.max())}


def render(report: dict[str, Any]) -> str:
    """Write a report for reading."""
    lines = [
        f"{report['requests']} requests in {report['seconds']:.0f} s (seed {report['conditions']['seed']})",
        *(f"  {count:8d}  {kind}" for kind, count in report["answers"].items()),
        f"wrong rankings {report['wrong_rankings']}, not recovered {report['not_recovered']}, "
        f"hangs {report['hangs']} (beyond {report['conditions']['hang_s']:g} s)",
        "latency from the intended time, ms: " + ", ".join(f"{k} {v:.1f}" for k, v in report["latency_ms"].items()),
        f"memory, MB: {report['conditions']['memory_mb_start']} at the start, "
        f"{report['conditions']['memory_mb_end']} at the end",
        "",
        f"{'trouble':28} {'times':>5} {'p50 ms':>8} {'longest':>8} {'recovery s, median':>19} {'max':>6}  during",
    ]
    for name, each in report["troubles"].items():
        middle, longest = each["recovery_s_median"], each["recovery_s_max"]
        recovery = f"{middle:19.2f} {longest:6.2f}" if middle is not None else f"{'none':>19} {'':6}"
        during = ", ".join(f"{count} {kind}" for kind, count in each["during"].items())
        lines.append(
            f"{name:28} {each['times']:5d} {each['p50_ms_during']:8.1f} {each['longest_ms']:8.0f} {recovery}  {during}"
        )
    return "\n".join(lines) + "\n"


def write(report: dict[str, Any], directory: Path) -> None:
    """Leave `report.txt` and `report.json` in a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "report.txt").write_text(render(report))
    (directory / "report.json").write_text(json.dumps(report, indent=1))
