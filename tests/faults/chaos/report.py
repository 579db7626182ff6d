"""What a run of chaos comes to: what must not be, counted kind by kind, and how long each trouble's effects lasted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tests.faults.chaos.load import Outcome
from tests.faults.chaos.truth import Truth

FAILURES = {
    "wrong_rankings": "wrong rankings",
    "stale_rankings": "stale rankings",
    "hangs": "hangs",
    "lost": "lost answers",
    "internal_errors": "internal errors",
    "not_recovered": "not recovered",
    "not_whole": "workers not whole",
}
"""What must not be, as a report names and as it writes it."""
DYING_S = 2.0
"""Answers that are lost so long after an API worker was killed are lost with it."""


@dataclass(frozen=True)
class Strike:
    """One trouble, by `time.monotonic()`.

    Attributes:
        watched_until: When what came next may have had effects of its own.
        missing: What workers still lacked long after it.
    """

    name: str
    began: float
    healed: float
    watched_until: float
    missing: Sequence[str] = ()


@dataclass(frozen=True)
class Conditions:
    """Under which a run was made, and what is allowed: `hang_s` to answer, and rows `stale_s` old."""

    seed: int
    rate: float
    deadline_s: float
    hang_s: float
    stale_s: float
    products: int
    memory_mb_start: dict[str, float]
    memory_mb_end: dict[str, float]
    tls: bool = False
    info: bool = False


def summarize(
    outcomes: list[Outcome],
    strikes: Sequence[Strike],
    truth: Truth,
    conditions: Conditions,
    kills: Sequence[float] = (),
) -> dict[str, Any]:
    """Judge a run; everything in the result goes into JSON.

    Args:
        outcomes: In the order of sending.
        strikes: The troubles in it.
        truth: Which rankings are right, and how old.
        conditions: Of the run.
        kills: When API workers were killed.
    """
    ages = np.array([truth.age_s(o) if o.answer else 0.0 for o in outcomes])
    wrong = [o for o, age_s in zip(outcomes, ages, strict=True) if np.isinf(age_s)]
    ages[np.isinf(ages)] = 0.0
    stale = [o for o, age_s in zip(outcomes, ages, strict=True) if age_s > conditions.stale_s]
    lost = [o for o in outcomes if o.lost and not any(kill <= o.ended <= kill + DYING_S for kill in kills)]
    failed = {
        "wrong_rankings": wrong,
        "stale_rankings": stale,
        "hangs": [o for o in outcomes if o.took_s > conditions.hang_s],
        "lost": lost,
        "internal_errors": [o for o in outcomes if o.kind.startswith("error 500")],
    }
    troubles = [_strike(strike, outcomes, ages) for strike in strikes]
    by_name: dict[str, list[dict[str, Any]]] = {}
    for trouble in troubles:
        by_name.setdefault(trouble["name"], []).append(trouble)
    return {
        "conditions": asdict(conditions),
        "seconds": outcomes[-1].ended - outcomes[0].intended,
        "requests": len(outcomes),
        "answers": dict(Counter(o.kind for o in outcomes).most_common()),
        **{kind: len(each) for kind, each in failed.items()},
        "not_recovered": sum(trouble["recovery_s"] is None for trouble in troubles),
        "not_whole": sum(bool(strike.missing) for strike in strikes),
        "failed_in": {kind: _troubles_of(each, strikes) for kind, each in failed.items()}
        | {
            "not_recovered": Counter(trouble["name"] for trouble in troubles if trouble["recovery_s"] is None),
            "not_whole": Counter(f"{each.name}: {', '.join(each.missing)}" for each in strikes if each.missing),
        },
        "oldest_s": float(ages.max()),
        "wrong_examples": [{"kind": o.kind, "answer": o.answer, "took_s": o.took_s} for o in wrong[:3]],
        "latency_ms": _latency(outcomes),
        "sent_late_ms_p99": float(np.percentile([o.sent - o.intended for o in outcomes], 99) * 1e3),
        "writes": sum(map(len, truth.versions.values())),
        "writes_unacknowledged": truth.unacknowledged,
        "troubles": {name: _together(each) for name, each in by_name.items()},
    }


def failures(report: Mapping[str, Any]) -> dict[str, int]:
    """Return what must not be and was, with how often."""
    return {kind: report[kind] for kind in FAILURES if report[kind]}


def _troubles_of(outcomes: list[Outcome], strikes: Sequence[Strike]) -> dict[str, int]:
    """Return in or after which trouble these were sent."""
    found: Counter[str] = Counter()
    for outcome in outcomes:
        begun = [strike.name for strike in strikes if strike.began <= outcome.sent]
        found[begun[-1] if begun else "before the first"] += 1
    return dict(found.most_common())


def _strike(strike: Strike, outcomes: list[Outcome], ages: np.ndarray) -> dict[str, Any]:
    during = [o for o in outcomes if strike.began <= o.intended < strike.healed]
    # What is under way when the next one strikes is not this one's.
    after = [o for o in outcomes if strike.healed <= o.intended and o.ended < strike.watched_until]
    not_full = [o.intended - strike.healed for o in after if not o.full]
    # Recovered is who answered everything in full from some moment to the end of the watch.
    recovered = bool(after) and after[-1].full
    of_it = [strike.began <= o.intended < strike.watched_until for o in outcomes]
    return {
        "name": strike.name,
        "during": Counter(o.kind for o in during),
        "after": Counter(o.kind for o in after if not o.full),
        "longest_ms": max((o.took_s for o in during + after), default=0.0) * 1e3,
        "p50_ms": median(o.took_s for o in during) * 1e3 if during else 0.0,
        "oldest_s": float(ages[of_it].max(initial=0.0)),
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
        "oldest_s": max(strike["oldest_s"] for strike in strikes),
        "recovery_s_median": median(recoveries) if recoveries else None,
        "recovery_s_max": max(recoveries, default=None),
    }


def _latency(outcomes: list[Outcome]) -> dict[str, float]:
    took = np.array([o.took_s for o in outcomes]) * 1e3
    return {f"p{q:g}": float(np.percentile(took, q)) for q in (50, 99, 99.9)} | {"max": float(took.max())}


def render(report: dict[str, Any]) -> str:
    """Write a report for reading."""
    conditions, failed = report["conditions"], failures(report)
    lines = [
        ("FAILED: " if failed else "passed: ")
        + ", ".join(f"{written} {report[kind]}" for kind, written in FAILURES.items()),
        f"{report['requests']} requests in {report['seconds']:.0f} s (seed {conditions['seed']}"
        f"{', TLS' * conditions['tls']}{', INFO allowed' * conditions['info']}), "
        f"{report['writes']} writes of features",
        *(f"  {count:8d}  {kind}" for kind, count in report["answers"].items()),
        f"oldest row of a full answer {report['oldest_s']:.2f} s (stale: beyond {conditions['stale_s']:g} s; "
        f"hang: beyond {conditions['hang_s']:g} s)",
        "latency from the intended time, ms: " + ", ".join(f"{k} {v:.1f}" for k, v in report["latency_ms"].items()),
        f"memory, MB: {conditions['memory_mb_start']} at the start, {conditions['memory_mb_end']} at the end",
        "",
        f"{'trouble':28} {'times':>5} {'p50 ms':>8} {'longest':>8} {'oldest s':>8} "
        f"{'recovery s, median':>19} {'max':>6}  during",
    ]
    for name, each in report["troubles"].items():
        middle, longest = each["recovery_s_median"], each["recovery_s_max"]
        recovery = f"{middle:19.2f} {longest:6.2f}" if middle is not None else f"{'none':>19} {'':6}"
        during = ", ".join(f"{count} {kind}" for kind, count in each["during"].items())
        lines.append(
            f"{name:28} {each['times']:5d} {each['p50_ms_during']:8.1f} {each['longest_ms']:8.0f} "
            f"{each['oldest_s']:8.2f} {recovery}  {during}"
        )
    for kind in failed:
        where = report["failed_in"][kind].items()
        lines += [f"{FAILURES[kind]}:", *(f"  {count} in or after {name}" for name, count in where)]
    return "\n".join(lines) + "\n"


def write(report: dict[str, Any], directory: Path) -> None:
    """Leave `report.txt` and `report.json` in a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "report.txt").write_text(render(report))
    (directory / "report.json").write_text(json.dumps(report, indent=1))
