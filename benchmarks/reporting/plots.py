"""Plots of a result, and its lines: latency against requests in flight and against products.

Each line is named where it ends, and what was refused is marked where it was. Owns which plots there are; what was
measured is the result's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.reporting import bars
from benchmarks.reporting.profiles import LEVEL, of_profile
from benchmarks.reporting.style import DARK_GREY, OURS, colour, is_sound, say_conditions

mpl.use("Agg")

DPI = 200
APART = 0.045
"""Between two names at the ends of lines, at least, as a share of the panel's height."""

KEYS = ("p50_ms", "p99_ms")
NOISE = 0.1
"""Share by which a latency may fall with a rising load before it counts as noise."""


class End(NamedTuple):
    """Last point of a line, and whether there would have been more, had requests not been refused or failed."""

    name: str
    x: int
    y: float
    is_cut: bool


def write(result: dict[str, Any], directory: Path) -> None:
    """Write the plots that the result has data for, and `costs.md`, which shows those of each profile's costs."""
    figures = make_figures(result)
    for name, figure in figures.items():
        figure.savefig(directory / f"{name}.png", dpi=DPI)
    costs = {name.removeprefix("costs-"): name for name in figures if name.startswith("costs-")}
    shown = [f"![What a request costs, profile {profile}]({name}.png)" for profile, name in costs.items()]
    (directory / "costs.md").write_text("\n\n".join(shown or ["This result has none."]) + "\n")


def make_figures(result: dict[str, Any]) -> dict[str, Figure]:
    """Return the plots that the result has data for, by name: one of all profiles, and those of each."""
    figures: dict[str, Figure] = {}
    profiles = {name: of_profile(result, name) for name in result["profiles"]}
    if compared := {name: cells for name, profile in profiles.items() if (cells := bars.compared(profile))}:
        figures["throughput"] = bars.throughput(result, compared)
    for name, profile in profiles.items():
        if name in compared and all("alone" in contender for contender in profile["contenders"].values()):
            figures[f"costs-{name}"] = bars.costs(profile, name)
        if any(len(contender["closed"]) > 1 for contender in profile["contenders"].values()):
            figures[f"latency-in-flight-{name}"] = _latency_by_in_flight(profile)
        if "products" in profile["sweeps"]:
            figures[f"latency-products-{name}"] = _latency_by_products(profile)
    return figures


def _latency_by_in_flight(result: dict[str, Any]) -> Figure:
    contenders = {name: measured["closed"] for name, measured in result["contenders"].items()}
    return _latencies(result, contenders, "requests in flight", "")


def _latency_by_products(result: dict[str, Any]) -> Figure:
    return _latencies(result, result["sweeps"]["products"], "products a request", f", {LEVEL} requests in flight")


def _latencies(result: dict[str, Any], by_contender: dict[str, Any], across: str, where: str) -> Figure:
    """Return two panels, the median and the 99th percentile of each contender's cells, by a number they have as key."""
    figure = Figure(figsize=(12, 5.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    ticks = sorted({int(n) for cells in by_contender.values() for n in cells})
    ends: list[list[End]] = [[], []]
    for panel, key, title, its_ends in zip(panels, KEYS, ("median", "99th percentile"), ends, strict=True):
        for name, cells in _others_first(by_contender):
            sound = {int(n): cell[key] for n, cell in cells.items() if is_sound(cell)}
            if sound:
                is_cut = any(int(n) > max(sound) for n in cells)
                _line(panel, name, [*sound], [*sound.values()], is_cut=is_cut)
                its_ends.append(End(name, max(sound), sound[max(sound)], is_cut))
        panel.set(xscale="log", yscale="log", xlabel=across, title=f"Latency, {title}{where}")
        panel.set_xlim(right=ticks[-1] * (ticks[-1] / ticks[0]) ** 0.28)  # room for the names
        _tick_plainly(panel, ticks)
    for panel, its_ends in zip(panels, ends, strict=True):  # once both have their limits
        _name_ends(panel, its_ends)
    panels[0].set_ylabel("ms")
    cut = any(end.is_cut for end in ends[0])
    say_conditions(
        figure, result, "\N{MULTIPLICATION SIGN} beyond this, requests were refused or failed\n" if cut else ""
    )
    return figure


def _others_first(contenders: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return contenders in an order in which ours are drawn above the others."""
    return sorted(contenders.items(), key=lambda item: item[0] in OURS)


def _line(panel: Axes, name: str, x: Sequence[int], y: Sequence[float], *, is_cut: bool) -> None:
    """Draw what is measured; a line that falls where the load rises is noise, and stays points."""
    rises = all(before <= after * (1 + NOISE) for before, after in pairwise(y))
    width = (2.4 if name in OURS else 1.3) if rises else 0
    panel.plot(x, y, marker="o", markersize=5, color=colour(name), label=name, linewidth=width)
    if is_cut:
        panel.plot(x[-1], y[-1], marker="x", markersize=11, markeredgewidth=2, color=colour(name))


def _name_ends(panel: Axes, ends: Sequence[End]) -> None:
    """Write each name behind its last point, those that end together far enough from one another to be read."""
    place = panel.transScale + panel.transLimits
    for x in {end.x for end in ends}:
        together = sorted((end for end in ends if end.x == x), key=lambda end: end.y)
        heights = [float(place.transform((end.x, end.y))[1]) for end in together]
        for i in range(1, len(heights)):
            heights[i] = max(heights[i], heights[i - 1] + APART)
        for i in range(len(heights) - 1, -1, -1):
            heights[i] = min(heights[i], 0.99 - APART * (len(heights) - 1 - i))
        for end, height in zip(together, heights, strict=True):
            panel.annotate(
                end.name,
                (place.transform((x, end.y))[0], height),
                xycoords="axes fraction",
                xytext=(9, 0),
                textcoords="offset points",
                va="center",
                fontsize="small",
                fontweight="bold" if end.name in OURS else "normal",
                color=OURS.get(end.name, DARK_GREY),
            )


def _tick_plainly(panel: Axes, ticks: Sequence[int]) -> None:
    panel.set_xticks(ticks, [str(tick) for tick in ticks])
    panel.xaxis.minorticks_off()
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
