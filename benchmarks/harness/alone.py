"""Requests one at a time from the first after the start: of products that nothing holds, then of the same again.

So the first pass is cold (products are read, and prepared where the model is split) and the second is warm.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from benchmarks.harness.asking import asking
from benchmarks.harness.processes import Running, ask
from benchmarks.harness.surroundings import Surroundings

METRICS_WAIT_S = 3.0
"""A worker writes what it noted once a second."""
POLL_S = 0.1

Figures = dict[str, Any]


def measure(started: Running, around: Surroundings) -> Figures:
    """Ask for the whole catalogue in separate lists, twice; return what a list took, in milliseconds.

    Returns:
        `first_ms`: the very first request. `cold_ms`, `warm_ms`: medians of either pass, and the CPU of a request in
        each, `cold_cpu_ms` and `warm_cpu_ms`. `product_bytes`: what the near cache takes for a product, where there
        is one.
    """
    bodies = around.separate_bodies()
    figures: Figures = {}
    with asking(started) as timed:
        for name in ("cold", "warm"):
            used = started.cpu_s()
            times_s = [timed(body) for body in bodies]
            figures.setdefault("first_ms", _ms(times_s[0]))
            figures[f"{name}_ms"] = _ms(median(times_s[1:]))
            figures[f"{name}_cpu_ms"] = _ms((started.cpu_s() - used) / len(bodies))
    if started.counts_degraded and (held := _product_bytes(started, len(around.products))):
        figures["product_bytes"] = held
    return figures


def merge(rounds: list[Figures]) -> Figures:
    """Return the median of each figure over the rounds."""
    return {name: round(median(figures[name] for figures in rounds), 3) for name in rounds[0]}


def held(metrics: str) -> tuple[float, float]:
    """Return the rows and the bytes that Prometheus text says the near cache holds."""
    totals = {"ranker_cache_rows": 0.0, "ranker_cache_bytes": 0.0}
    for line in metrics.splitlines():
        name, _, value = line.rpartition(" ")
        if (name := name.partition("{")[0]) in totals:
            totals[name] += float(value)
    return totals["ranker_cache_rows"], totals["ranker_cache_bytes"]


def _product_bytes(started: Running, products: int) -> float:
    """Return the bytes of a held row, once all products are held, or have been for a while; 0 where none are.

    One user's row is among them.
    """
    deadline = time.monotonic() + METRICS_WAIT_S
    rows = size = 0.0
    while rows < products and time.monotonic() < deadline:
        time.sleep(POLL_S)
        rows, size = held(ask(started.port, "GET", "/metrics")[1].decode())
    return round(size / rows, 1) if rows else 0.0


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
