"""Sweeps: this project's two shapes while one thing changes: products, catalogue, cache, store, Redis.

Beside them, designs with an API worker for each core, as this project has unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from benchmarks.harness import answers, workload
from benchmarks.harness.cells import merge
from benchmarks.harness.contender import CONTENDERS, WHOLE, Contender
from benchmarks.harness.load import closed_loop
from benchmarks.harness.processes import running
from benchmarks.harness.surroundings import Surroundings
from benchmarks.plan import Plan
from ranker.process.cores import usable_cores

NAMES = ("ranker-local", "ranker-service")
OTHERS = ("usual", "bare-asgi")

CACHE = "cache"
ALL_CORES = "an API worker for each core"

Sweeps = dict[str, dict[str, dict[str, Any]]]
"""Sweep → contender → variant → cell."""


def variants(base: Contender) -> dict[str, dict[str, Contender]]:
    """Return the sweeps that need another start, each with what it varies; the first variant of each is the base."""
    return {
        CACHE: {
            "warm": base,
            "users not cached": base.varied(RANKER_CACHE_USER_TTL_S="0"),
            "none": base.varied(RANKER_CACHE_MB="0"),
        },
        "store": {"binary": base, "JSON in JSON": base.varied(store="json")},
        "store, no cache": {
            "binary": base.varied(RANKER_CACHE_MB="0"),
            "JSON in JSON": base.varied(store="json", RANKER_CACHE_MB="0"),
        },
        "Redis": {"here": base, "1 ms away": base.varied(delayed=True)},
        "Redis, no cache": {
            "here": base.varied(RANKER_CACHE_MB="0"),
            "1 ms away": base.varied(delayed=True, RANKER_CACHE_MB="0"),
        },
    }


def on_all_cores() -> list[Contender]:
    """Return who is compared with an API worker for each core."""
    words = ("--workers", str(usable_cores()))
    others = [replace(CONTENDERS[name], command=(*CONTENDERS[name].command, *words)) for name in OTHERS]
    return [*others, *(CONTENDERS[name].varied(RANKER_WORKERS="auto") for name in NAMES)]


def run(around: Surroundings, plan: Plan, say: Callable[[str], None]) -> Sweeps:
    """Measure all sweeps, or that over the cache alone, split and whole; equal set-ups are measured once."""
    result: Sweeps = {}
    complete = bool(plan.sweep_products)
    for name in NAMES if complete else (NAMES[0], NAMES[0] + WHOLE):
        base = CONTENDERS[name]
        measured: dict[str, dict[str, Any]] = {}
        for sweep, by_variant in variants(base).items():
            if not complete and sweep != CACHE:
                continue
            cells = result.setdefault(sweep, {}).setdefault(name, {})
            for variant, contender in by_variant.items():
                key = repr(contender)
                if key not in measured:
                    say(f"sweep {sweep}: {name}, {variant}")
                    load = {variant: (workload.PRODUCTS_PER_REQUEST, plan.sweep_in_flight)}
                    measured[key] = _measure(contender, around, plan, load)[variant]
                cells[variant] = measured[key]
        if not complete:
            continue
        say(f"sweep products: {name}")
        rows = 2 * plan.sweep_in_flight * max(plan.sweep_products)  # the default limit would refuse so many long lists
        roomy = base.varied(RANKER_MAX_IN_FLIGHT_ROWS=str(rows))
        loads = {str(n): (n, plan.sweep_in_flight) for n in plan.sweep_products}
        result.setdefault("products", {})[name] = _measure(roomy, around, plan, loads)
        say(f"sweep catalogue: {name}")
        result.setdefault("catalogue", {})[name] = _catalogue(base, around, plan)
    for contender in on_all_cores() if complete else ():
        say(f"{ALL_CORES}: {contender.name}")
        loads = {f"{level} in flight": (workload.PRODUCTS_PER_REQUEST, level) for level in plan.all_cores_levels}
        result.setdefault(ALL_CORES, {})[contender.name] = _measure(contender, around, plan, loads)
    return result


def _catalogue(base: Contender, around: Surroundings, plan: Plan) -> dict[str, Any]:
    """Measure both catalogues from the first request after the start, and once the cache is warm."""
    cells = {}
    for size, contender, bodies in (
        (workload.PRODUCTS, base, around.bodies()),
        (workload.LARGE_PRODUCTS, base.varied(store="large"), around.load_large()),
    ):
        with running(contender, around) as started:
            for state, warm_up_s in (("cold", 0.0), ("warm", plan.warm_up_s)):
                measured = closed_loop(started, around, bodies, plan.sweep_in_flight, plan.sweep_s, warm_up_s)
                cells[f"{size:,} {state}"] = merge([measured])
    return cells


def _measure(
    contender: Contender, around: Surroundings, plan: Plan, loads: Mapping[str, tuple[int, int]]
) -> dict[str, Any]:
    """Start a contender, check it, and measure it under each load: products of a request, requests in flight."""
    cells = {}
    with running(contender, around) as started:
        answers.check(contender.name, started, around)
        for name, (products, in_flight) in loads.items():
            bodies = around.bodies(products)
            measured = closed_loop(started, around, bodies, in_flight, plan.sweep_s, plan.warm_up_s)
            cells[name] = merge([measured])
    return cells
