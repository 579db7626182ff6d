"""Bars: throughput of all profiles side by side, and what a request of one profile costs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.reporting.profiles import BARE, LEVEL, of_profile
from benchmarks.reporting.style import DARK_GREY, OURS, colour, is_sound, say_conditions

PANELS_ABREAST = 2
TITLE_WIDTH = 56
"""Characters of a title's line, for each panel abreast."""
ABOUT_WIDTH, ABOUT_LINE_POINTS = 66, 11
"""Characters and height of a line that says what a profile is."""

SMALL = 10
"""Below this, a number has digits behind its point."""

Cells = dict[str, dict[str, Any]]
"""Contender → cell."""


def compared(result: dict[str, Any]) -> Cells:
    """Return the cells that contenders are compared by, by name."""
    closed = {name: contender["closed"] for name, contender in result["contenders"].items()}
    return {name: levels[LEVEL] for name, levels in closed.items() if LEVEL in levels}


def throughput(result: dict[str, Any], profiles: dict[str, Cells]) -> Figure:
    """Return a panel for each profile with a bar for each contender, in one order throughout, and its number."""
    names = _in_order(profiles)
    columns = min(len(profiles), PANELS_ABREAST)
    lines = -(-len(profiles) // columns)
    size = 2 + 4.4 * columns, (0.3 * len(names) + 0.8) * lines + 0.9
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).flat
    for panel, (profile, cells) in zip(panels, profiles.items(), strict=False):
        widths = [_relative(cells, name) for name in names]
        _draw(panel, names, widths, [_label(cells, name) for name in names])
        _head(panel, profile, result["profiles"][profile]["settings"])
    for panel in list(panels)[len(profiles) :]:
        panel.set_axis_off()
    relative = "; times the bare ASGI app's" if any(BARE in cells for cells in profiles.values()) else ""
    title = f"Answers a second with the same model, {LEVEL} requests in flight, one API worker each{relative}"
    figure.suptitle(fill(title, TITLE_WIDTH * columns), x=0.01, ha="left")
    say_conditions(figure, of_profile(result, next(iter(profiles))))
    return figure


def costs(result: dict[str, Any], profile: str) -> Figure:
    """Return three panels of one profile: CPU, 99th percentile, and a request alone, not cached and cached."""
    cells = compared(result)
    names = _in_order({profile: cells})
    figure = Figure(figsize=(12, 0.34 * len(names) + 1.9), layout="constrained")
    cpu, tail, alone = figure.subplots(1, 3, sharey=True)
    for panel, key, title in (
        (cpu, "cpu_s_per_1000", f"CPU of a request, ms, {LEVEL} in flight"),
        (tail, "p99_ms", f"Latency, 99th percentile, ms, {LEVEL} in flight"),
    ):
        values = [float(cells[name][key]) for name in names]
        _draw(panel, names, values, [_number(cells[name], key) for name in names])
        panel.set_title(title, loc="left", fontsize="medium")
    passes = [[result["contenders"][name]["alone"][key] for key in ("cold_ms", "warm_ms")] for name in names]
    for at, (name, (cold, warm)) in enumerate(zip(names, passes, strict=True)):
        alone.plot((cold, warm), (at, at), color=colour(name), linewidth=2)
        alone.plot(cold, at, marker="o", color=colour(name), markerfacecolor="white", markersize=8)
        alone.plot(warm, at, marker="o", color=colour(name), markersize=8)
        text = f"{cold:.1f} \N{RIGHTWARDS ARROW} {warm:.1f}"
        place = {"xytext": (9, 0), "textcoords": "offset points", "va": "center", "fontsize": "small"}
        alone.annotate(text, (max(cold, warm), at), **place)
    title = "One at a time, ms: \N{WHITE CIRCLE} not cached, \N{BLACK CIRCLE} cached"
    alone.set_title(title, loc="left", fontsize="medium")
    alone.set_xlim(0, 1.5 * max(map(max, passes)))
    _strip(alone)
    figure.suptitle(f"{profile}: {result['settings']['model']}", x=0.01, ha="left")
    say_conditions(figure, result)
    return figure


def _number(cell: dict[str, Any], key: str) -> str:
    value = float(cell[key])
    return f"{value:,.{2 if value < SMALL else 0}f}{'' if is_sound(cell) else ' (refused or failed)'}"


def _draw(panel: Axes, names: Sequence[str], widths: Sequence[float], labels: Sequence[str]) -> None:
    """Draw a bar for each name, with what it says behind it."""
    bars = panel.barh(names, widths, color=[colour(name) for name in names])
    for label, name in zip(panel.bar_label(bars, labels, padding=4, fontsize="small"), names, strict=True):
        label.set_fontweight("bold" if name in OURS else "normal")
    panel.set_xlim(0, 1.7 * max(*widths, 1e-9))  # room for the numbers
    for label in panel.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() in OURS else "normal")
    _strip(panel)


def _strip(panel: Axes) -> None:
    """Leave out the axes: each bar says its number."""
    panel.xaxis.set_visible(False)
    panel.tick_params(left=False)
    panel.spines[:].set_visible(False)


def _head(panel: Axes, profile: str, settings: dict[str, Any]) -> None:
    """Write a panel's name, and what the profile is below it."""
    about = fill(f"{settings['features']} features; {settings['model']}", ABOUT_WIDTH)
    above = {"xycoords": "axes fraction", "textcoords": "offset points"}
    panel.annotate(about, (0, 1), xytext=(0, 3), fontsize="small", color=DARK_GREY, **above)
    height = 5 + ABOUT_LINE_POINTS * (about.count("\n") + 1)
    panel.annotate(profile, (0, 1), xytext=(0, height), fontsize="large", fontweight="bold", **above)


def _in_order(profiles: dict[str, Cells]) -> list[str]:
    """Return the contenders, the best in most profiles last, which is on top."""
    names = {name for cells in profiles.values() for name in cells}

    def rank(name: str) -> float:
        return mean(_relative(cells, name) for cells in profiles.values() if name in cells)

    return sorted(names, key=rank)


def _relative(cells: Cells, name: str) -> float:
    """Return the throughput over the bare ASGI app's, or over the best where there is none; 0 where not measured."""
    if name not in cells:
        return 0.0
    base = cells[BARE]["rps"] if BARE in cells else max(cell["rps"] for cell in cells.values())
    return float(cells[name]["rps"] / base) if base else 0.0


def _label(cells: Cells, name: str) -> str:
    if name not in cells:
        return "not measured"
    times = f" \N{MIDDLE DOT} {_relative(cells, name):.1f}\N{MULTIPLICATION SIGN}" if BARE in cells else ""
    return f"{cells[name]['rps']:,.0f}{times}{'' if is_sound(cells[name]) else ' (refused or failed)'}"
