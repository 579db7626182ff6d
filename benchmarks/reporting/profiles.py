"""Profiles of a result side by side: throughput, costs, cold and warm, split and whole."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from benchmarks.harness.contender import WHOLE
from benchmarks.reporting.tables import table

Result = dict[str, Any]

LEVEL = "64"
"""Requests in flight at which profiles are compared."""
BARE = "bare-asgi"


def of_profile(result: Result, name: str) -> Result:
    """Return one profile's result, with commit, machine and command beside its contenders and sweeps."""
    head = {key: value for key, value in result.items() if key != "profiles"}
    return {**head, **result["profiles"][name]}


def profiles_table(result: Result) -> str:
    """Return a row for each profile and contender: throughput and costs, cold and warm."""
    rows = []
    for profile in result["profiles"]:
        contenders = result["profiles"][profile]["contenders"]
        bare = contenders.get(BARE, {}).get("closed", {}).get(LEVEL)
        for name, contender in contenders.items():
            if cell := contender["closed"].get(LEVEL):
                ratio = f"{cell['rps'] / bare['rps']:.1f}" if bare and bare["rps"] else "-"
                served = [f"{cell['rps']:,.0f}", ratio, f"{cell['p50_ms']:.1f}", f"{cell['p99_ms']:.1f}"]
                costs = [f"{cell['errors']}", f"{cell['cpu_s_per_1000']:.2f}"]
                rows.append([profile, name, *served, *costs, *_alone(contender.get("alone", {}))])
    return table(["profile", "contender", *SERVED, *ALONE.values()], rows)


class Preparing(NamedTuple):
    """A model split and whole: milliseconds of a request alone, its products not cached and cached.

    Attributes:
        whole: Figures of the whole model.
        split: Of the split one.
    """

    whole: dict[str, float]
    split: dict[str, float]

    @property
    def pays_from(self) -> int | None:
        """From which ranking of the same products the split has cost less; None: never."""
        extra = self.split["cold_ms"] - self.whole["cold_ms"]
        saved = self.whole["warm_ms"] - self.split["warm_ms"]
        if extra <= 0:
            return 1
        return 1 + math.ceil(extra / saved) if saved > 0 else None


def preparing(result: Result) -> dict[tuple[str, str], Preparing]:
    """Return (profile, contender) → both ways, where both were measured."""
    found = {}
    for profile, measured in result["profiles"].items():
        alone = {name: contender.get("alone") for name, contender in measured["contenders"].items()}
        for name, split in alone.items():
            if split and (whole := alone.get(name + WHOLE)):
                found[profile, name] = Preparing(whole, split)
    return found


def preparing_table(result: Result) -> str:
    """Return a row for each profile and shape of this project."""
    rows = []
    for (profile, name), both in preparing(result).items():
        cells = [f"{both.whole[key]:.2f} / {both.split[key]:.2f}" for key in ("first_ms", "cold_ms", "warm_ms")]
        sizes = [f"{one['product_bytes']:.0f}" if "product_bytes" in one else "-" for one in (both.whole, both.split)]
        rows.append([profile, name, *cells, f"{both.pays_from or 'never'}", " / ".join(sizes)])
    return table(["profile", "whole / split", *PREPARING], rows)


PREPARING = ("first request, ms", "not cached, ms", "cached, ms", "split pays from ranking", "bytes a product")
SERVED = ("req/s", "x bare ASGI", "p50 ms", "p99 ms", "errors", "CPU ms a request")
ALONE = {
    "first_ms": "first request, ms",
    "cold_ms": "alone, not cached, ms",
    "warm_ms": "alone, cached, ms",
    "product_bytes": "bytes a product",
}
"""One request at a time: figure → heading."""


def _alone(figures: dict[str, float]) -> list[str]:
    return [
        "-" if name not in figures else f"{figures[name]:.0f}" if name == "product_bytes" else f"{figures[name]:.1f}"
        for name in ALONE
    ]
