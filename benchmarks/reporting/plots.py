"""Plots of a result: throughput by profile and contender, latency against requests in flight and against products.

Ours are coloured and the others grey, each is named where it ends, what was refused is marked where it was, and the
conditions stand below. Owns how a result looks; what was measured is the result's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean
from textwrap import fill
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.reporting.profiles import BARE, LEVEL, of_profile

mpl.use("Agg")

OURS = {
    "ranker-local": "#0b6e4f",
    "ranker-service": "#2a9d74",
    "ranker-local-whole": "#8fbfae",
    "ranker-service-whole": "#a9d8c6",
}
GREY, DARK_GREY = "#b3b8c0", "#5d636e"
"""Lines and bars of others, and their names."""
DPI = 200
APART = 0.045
"""Between two names at the ends of lines, at least, as a share of the panel's height."""

PANELS_ABREAST = 2
TITLE_WIDTH = 56
"""Characters of a title's line, for each panel abreast."""
ABOUT_WIDTH, ABOUT_LINE_POINTS = 66, 11
"""Characters and height of a line that says what a profile is."""

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
    """Return the plots that the result has data for, by name: one of all profiles, and those of each."""
    figures: dict[str, Figure] = {}
    profiles = {name: of_profile(result, name) for name in result["profiles"]}
    if compared := {name: cells for name, profile in profiles.items() if (cells := _cells(profile))}:
        figures["throughput"] = _throughput(result, compared)
    for name, profile in profiles.items():
        if any(len(contender["closed"]) > 1 for contender in profile["contenders"].values()):
            figures[f"latency-in-flight-{name}"] = _latency_by_in_flight(profile)
        if "products" in profile["sweeps"]:
            figures[f"latency-products-{name}"] = _latency_by_products(profile)
    return figures


def _latency_by_in_flight(result: dict[str, Any]) -> Figure:
    contenders = {name: measured["closed"] for name, measured in result["contenders"].items()}
    return _latencies(result, contenders, "requests in flight", "")


def _cells(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the cells that contenders are compared by, by name."""
    closed = {name: contender["closed"] for name, contender in result["contenders"].items()}
    return {name: levels[LEVEL] for name, levels in closed.items() if LEVEL in levels}


def _throughput(result: dict[str, Any], profiles: dict[str, dict[str, dict[str, Any]]]) -> Figure:
    """Return a panel for each profile with a bar for each contender, in one order throughout, and its number."""
    names = _in_order(profiles)
    columns = min(len(profiles), PANELS_ABREAST)
    lines = -(-len(profiles) // columns)
    size = 2 + 4.4 * columns, (0.3 * len(names) + 0.8) * lines + 0.9
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).flat
    for panel, (profile, cells) in zip(panels, profiles.items(), strict=False):
        widths = [_relative(cells, name) for name in names]
        bars = panel.barh(names, widths, color=[_colour(name) for name in names])
        labels = panel.bar_label(bars, [_label(cells, name) for name in names], padding=4, fontsize="small")
        for label, name in zip(labels, names, strict=True):
            label.set_fontweight("bold" if name in OURS else "normal")
        panel.set_xlim(0, 1.7 * max(*widths, 1e-9))  # room for the numbers
        _head(panel, profile, result["profiles"][profile]["settings"])
        for label in panel.get_yticklabels():
            label.set_fontweight("bold" if label.get_text() in OURS else "normal")
        panel.xaxis.set_visible(False)  # each bar says its number
        panel.tick_params(left=False)
        panel.spines[:].set_visible(False)
    for panel in list(panels)[len(profiles) :]:
        panel.set_axis_off()
    relative = "; times the bare ASGI app's" if any(BARE in cells for cells in profiles.values()) else ""
    title = f"Answers a second with the same model, {LEVEL} requests in flight, one API worker each{relative}"
    figure.suptitle(fill(title, TITLE_WIDTH * columns), x=0.01, ha="left")
    _say_conditions(figure, of_profile(result, next(iter(profiles))))
    return figure


def _head(panel: Axes, profile: str, settings: dict[str, Any]) -> None:
    """Write a panel's name, and what the profile is below it."""
    about = fill(f"{settings['features']} features; {settings['model']}", ABOUT_WIDTH)
    above = {"xycoords": "axes fraction", "textcoords": "offset points"}
    panel.annotate(about, (0, 1), xytext=(0, 3), fontsize="small", color=DARK_GREY, **above)
    height = 5 + ABOUT_LINE_POINTS * (about.count("\n") + 1)
    panel.annotate(profile, (0, 1), xytext=(0, height), fontsize="large", fontweight="bold", **above)


def _in_order(profiles: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """Return the contenders, the best in most profiles last, which is on top."""
    names = {name for cells in profiles.values() for name in cells}

    def rank(name: str) -> float:
        return mean(_relative(cells, name) for cells in profiles.values() if name in cells)

    return sorted(names, key=rank)


def _relative(cells: dict[str, dict[str, Any]], name: str) -> float:
    """Return the throughput over the bare ASGI app's, or over the best where there is none; 0 where not measured."""
    if name not in cells:
        return 0.0
    base = cells[BARE]["rps"] if BARE in cells else max(cell["rps"] for cell in cells.values())
    return float(cells[name]["rps"] / base) if base else 0.0


def _label(cells: dict[str, dict[str, Any]], name: str) -> str:
    if name not in cells:
        return "not measured"
    times = f" \N{MIDDLE DOT} {_relative(cells, name):.1f}\N{MULTIPLICATION SIGN}" if BARE in cells else ""
    return f"{cells[name]['rps']:,.0f}{times}{'' if _is_sound(cells[name]) else ' (refused or failed)'}"


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
