"""Table of symptoms: what changed in a service's metrics and log while it was in trouble.

Owns the figures and the table of docs/signatures.md. Knows nothing of how a trouble is made.
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks.reporting.tables import table

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""Values of `/metrics` by name and labels."""


def total(now: Samples, name: str, **labels: str) -> float:
    """Return the sum of the samples that have these labels."""
    return sum(value for (n, has), value in now.items() if n == name and labels.items() <= has)


def figures(before: Samples, after: Samples) -> dict[str, Any]:
    """Return what changed between two looks, in the form of the table."""
    grown = {key: value - before.get(key, 0.0) for key, value in after.items()}
    stages = ("queue", "fetch", "decode", "assemble", "score", "rank", "serialise", "total")
    hits, misses = (total(grown, "ranker_cache_lookups_total", result=result) for result in ("hit", "miss"))
    return {
        "stage_p50_ms": {s: quantile_ms(grown, "ranker_stage_seconds", 0.5, stage=s) for s in stages},
        "stage_p99_ms": {s: quantile_ms(grown, "ranker_stage_seconds", 0.99, stage=s) for s in stages},
        "loop_lag_p50_ms": quantile_ms(grown, "ranker_loop_lag_seconds", 0.5),
        "loop_lag_p99_ms": quantile_ms(grown, "ranker_loop_lag_seconds", 0.99),
        "cache_hit_share": round(hits / (hits + misses), 3) if hits + misses else 0.0,
        "rows_a_call": {hop: mean(grown, "ranker_merged_rows", hop=hop) for hop in ("fetch", "score")},
        "requests_a_call": {hop: mean(grown, "ranker_merged_requests", hop=hop) for hop in ("fetch", "score")},
        "products_mean": mean(grown, "ranker_request_products"),
        "slow_requests": total(grown, "ranker_slow_requests_total"),
    }


def mean(grown: Samples, name: str, **labels: str) -> float:
    """Return the mean of a histogram."""
    count = total(grown, f"{name}_count", **labels)
    return round(total(grown, f"{name}_sum", **labels) / count, 1) if count else 0.0


def quantile_ms(grown: Samples, name: str, q: float, **labels: str) -> float:
    """Return a quantile of a histogram of seconds as Prometheus estimates it, in milliseconds."""
    buckets = sorted(
        (float(dict(has)["le"]), value)
        for (n, has), value in grown.items()
        if n == f"{name}_bucket" and labels.items() <= has
    )
    if not buckets or not buckets[-1][1]:
        return 0.0
    wanted, low, below = q * buckets[-1][1], 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted:
            high = bound if bound < float("inf") else low
            return round((low + (high - low) * (wanted - below) / (count - below)) * 1000, 2)
        low, below = bound, count
    return round(low * 1000, 2)


def slow_lines(log: bytes) -> list[dict[str, Any]]:
    """Return what the log says of slow requests."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith(b"{")]
    return [line for line in lines if line["logger"] == "ranker.slow" and "request_id" in line]


def symptoms_table(seen: dict[str, dict[str, Any]]) -> str:
    """Return what was seen as a table in Markdown, a column for each trouble."""
    rows: list[tuple[str, list[str]]] = []
    for stage in ("total", "queue", "fetch", "decode", "score"):
        cells = [f"{s['stage_p50_ms'][stage]:g} / {s['stage_p99_ms'][stage]:g}" for s in seen.values()]
        rows.append((f"`{stage}`, p50 / p99 ms", cells))
    lags = [f"{s['loop_lag_p50_ms']:g} / {s['loop_lag_p99_ms']:g}" for s in seen.values()]
    rows.append(("loop lag, p50 / p99 ms", lags))
    rows.append(("cache hits", [f"{s['cache_hit_share']:.1%}" for s in seen.values()]))
    rows += [
        (f"rows a call, {hop}", [f"{s['rows_a_call'][hop]:g}" for s in seen.values()]) for hop in ("fetch", "score")
    ]
    rows.append(("products, mean", [f"{s['products_mean']:g}" for s in seen.values()]))
    rows.append(("in-flight rows, most", [f"{s['in_flight_rows']:g}" for s in seen.values()]))
    waiting = [" / ".join(f"{count:g}" for count in s["waiting"].values()) for s in seen.values()]
    rows.append(("waiting, most: turn / fetch / score", waiting))
    rows.append(("slow requests (20 ms)", [f"{s['slow_requests']:g}" for s in seen.values()]))
    return table(["", *seen], [[name, *cells] for name, cells in rows])
