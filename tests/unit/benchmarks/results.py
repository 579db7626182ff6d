"""A result as `benchmarks.run` writes it, of made-up figures."""

from __future__ import annotations

from typing import Any

RPS = {"usual": 100.0, "bentoml-default": 80.0, "bare-asgi": 1000.0, "ranker-service": 2000.0, "ranker-local": 2500.0}
"""Contender → answers a second of one model."""


def cell(rps: float, p50_ms: float, *, errors: int = 0) -> dict[str, Any]:
    """Return a cell."""
    figures = {"p50_ms": p50_ms, "p99_ms": 2 * p50_ms, "p999_ms": 3 * p50_ms, "max_ms": 4 * p50_ms}
    costs = {"cpu_s_per_1000": 1.5, "redis_cpu_s_per_1000": 0.25, "rss_mb": 150.0, "others_cores": 0.0}
    return {"rps": rps, **figures, "errors": errors, "requests": 1000, **costs}


def profile(features: str, model: str, factor: float = 1.0) -> dict[str, Any]:
    """Return a profile in which ours are `factor` times as quick, and one refuses beyond one request in flight."""
    contenders = {}
    for name, rps in RPS.items():
        rps *= factor if name.startswith("ranker") else 1
        errors = 400 if name == "bentoml-default" else 0
        levels = {1: 0, 64: errors, 500: errors}
        closed = {str(level): cell(rps, level * 1000 / rps, errors=its) for level, its in levels.items()}
        alone = {"first_ms": 9.0, "cold_ms": 4.0, "cold_cpu_ms": 3.0, "warm_ms": 2.0, "warm_cpu_ms": 1.0}
        contenders[name] = {"alone": alone, "closed": closed, "open": {}}
    settings = {"rounds": 2, "closed_s": 3, "warm_up_s": 1, "products": 10_000, "products_per_request": 100}
    return {
        "settings": {**settings, "features": features, "model": model},
        "contenders": contenders,
        "sweeps": {},
        "observing": {},
        "failed": {},
    }


def make_result() -> dict[str, Any]:
    """Return a result of two profiles; in the first, more products take less time, once."""
    light = profile("64 + 64", "small network")
    products = {"10": cell(4000.0, 20.0), "50": cell(3000.0, 60.0), "100": cell(2500.0, 26.0)}
    light["sweeps"] = {"products": {"ranker-local": products}}
    light["observing"] = {"ranker-local": {"request_us": 400.0, "us": 6.04, "share": 0.0151}}
    light["failed"] = {"litserve": "it is not installed\nmore"}
    machine = {"cpu": "a CPU", "cores": 2, "memory_gb": 8, "kernel": "Linux", "python": "3.11"}
    return {
        "commit": "0123456789abcdef",
        "machine": machine | {"load_average_before": 0.1},
        "versions": {},
        "command": "python -m benchmarks.run",
        "profiles": {"light": light, "trees": profile("32 + 32", "forest", factor=3)},
    }
