"""Plots of a result: latency against requests in flight, throughput by contender, latency against products.

Ours are coloured and the others grey, each is named where it ends, what was refused is marked where it was, and the
conditions stand below. Owns how a result looks; what was measured is the result's.
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

mpl.use("Agg")

OURS = {"ranker-local": "#0b6e4f", "ranker-service": "#2a9d74"}
GREY, DARK_GREY = "#b3b8c0", "#5d636e"
"""Lines and bars of others, and their names."""
LEVEL = "64"
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
    """Write the plots that the result has data for."""
    for name, figure in make_figures(result).items():
        figure.savefig(directory / f"{name}.png", dpi=DPI)


def make_figures(result: dict[str, Any]) -> dict[str, Figure]:
    """Return the plots that the result has data for, by name."""
    contenders = result["contenders"]
    figures: dict[str, Figure] = {}
    if contenders:
        figures["latency-in-flight"] = _latency_by_in_flight(result)
    if any(LEVEL in contender["closed"] for contender in contenders.values()):
        figures["throughput"] = _throughput(result)
    if "products" in result["sweeps"]:
        figures["latency-products"] = _latency_by_products(result)
    return figures


def _latency_by_in_flight(result: dict[str, Any]) -> Figure:
    contenders = {name: measured["closed"] for name, measured in result["contenders"].items()}
    return _latencies(result, contenders, "requests in flight", "")


def _throughput(result: dict[str, Any]) -> Figure:
    contenders = result["contenders"]
    cells = {name: measured["closed"][LEVEL] for name, measured in contenders.items() if LEVEL in measured["closed"]}
    names = sorted(cells, key=lambda name: cells[name]["rps"])
    figure = Figure(figsize=(8, 0.45 * len(cells) + 1.8), layout="constrained")
    panel = figure.subplots()
    bars = panel.barh(names, [cells[name]["rps"] for name in names], color=[_colour(name) for name in names])
    labels = [f"{cells[n]['rps']:,.0f}{'' if _is_sound(cells[n]) else ' (refused or failed)'}" for n in names]
    panel.bar_label(bars, labels, padding=4)
    for label in panel.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() in OURS else "normal")
    panel.margins(x=0.15)
    panel.set_title(f"Answers a second, {LEVEL} requests in flight, one API worker each", loc="left")
    panel.xaxis.set_visible(False)  # each bar says its number
    panel.tick_params(left=False)
    panel.spines[:].set_visible(False)
    _say_conditions(figure, result)
    return figure


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
            sound = {int(n): cell[key] for n, cell in cells.items() if _is_sound(cell)}
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
    _say_conditions(
        figure, result, "\N{MULTIPLICATION SIGN} beyond this, requests were refused or failed\n" if cut else ""
    )
    return figure


def _others_first(contenders: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return contenders in an order in which ours are drawn above the others."""
    return sorted(contenders.items(), key=lambda item: item[0] in OURS)


def _colour(name: str) -> str:
    return OURS.get(name, GREY)


def _line(panel: Axes, name: str, x: Sequence[int], y: Sequence[float], *, is_cut: bool) -> None:
    """Draw what is measured; a line that falls where the load rises is noise, and stays points."""
    rises = all(before <= after * (1 + NOISE) for before, after in pairwise(y))
    width = (2.4 if name in OURS else 1.3) if rises else 0
    panel.plot(x, y, marker="o", markersize=5, color=_colour(name), label=name, linewidth=width)
    if is_cut:
        panel.plot(x[-1], y[-1], marker="x", markersize=11, markeredgewidth=2, color=_colour(name))


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


def _say_conditions(figure: Figure, result: dict[str, Any], before: str = "") -> None:
    machine, settings = result["machine"], result["settings"]
    figure.supxlabel(
        f"{before}{machine['cores']} cores ({machine['cpu']}), which also run Redis and the generator; "
        f"Python {machine['python']}; {settings['rounds']} rounds of {settings['closed_s']} s; "
        f"commit {result['commit'][:7]}",
        fontsize="small",
        color=DARK_GREY,
    )


def _is_sound(cell: dict[str, Any]) -> bool:
    """Say whether latencies are those of answers: those of refusals are none."""
    return bool(cell["errors"] <= cell["requests"] / 1000)
