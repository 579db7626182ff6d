"""Plots of a result: latency against requests in flight, throughput by contender, latency against products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

mpl.use("Agg")

OURS = {"ranker-local": "#0b6e4f", "ranker-service": "#21a179"}
OTHERS = {
    "usual": "#b23a48",
    "fastapi-tuned": "#e09f3e",
    "bare-asgi": "#5f6caf",
    "limit": "#9e9e9e",
    "litserve": "#8d6a9f",
    "bentoml-default": "#7f7f7f",
}
COLOURS = {**OTHERS, **OURS}
LEVEL = "64"


def write(result: dict[str, Any], directory: Path) -> None:
    """Write the plots that the result has data for."""
    contenders = result["contenders"]
    if contenders:
        _latency_by_in_flight(contenders, directory / "latency-in-flight.png")
    if any(LEVEL in contender["closed"] for contender in contenders.values()):
        _throughput(contenders, directory / "throughput.png")
    if "products" in result["sweeps"]:
        _latency_by_products(result["sweeps"]["products"], directory / "latency-products.png")


def _latency_by_in_flight(contenders: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, name, title in zip(panels, ("p50_ms", "p99_ms"), ("median", "99th percentile"), strict=True):
        for contender, measured in contenders.items():
            sound = {int(level): cell for level, cell in measured["closed"].items() if _is_sound(cell)}
            _line(panel, contender, list(sound), [cell[name] for cell in sound.values()])
        panel.set(xscale="log", yscale="log", title=f"Latency, {title}", xlabel="requests in flight")
        _tick_plainly(panel, sorted({int(level) for measured in contenders.values() for level in measured["closed"]}))
    panels[0].set_ylabel("ms")
    panels[0].legend(fontsize="small")
    figure.savefig(path, dpi=110)


def _throughput(contenders: dict[str, Any], path: Path) -> None:
    cells = {name: measured["closed"][LEVEL] for name, measured in contenders.items() if LEVEL in measured["closed"]}
    figure = Figure(figsize=(8, 0.5 * len(cells) + 1.6), layout="constrained")
    panel = figure.subplots()
    names = list(cells)[::-1]
    bars = panel.barh(names, [cells[name]["rps"] for name in names], color=[COLOURS.get(name) for name in names])
    labels = [f"{cells[n]['rps']:,.0f}{'' if _is_sound(cells[n]) else ' (with errors)'}" for n in names]
    panel.bar_label(bars, labels, padding=4)
    panel.margins(x=0.15)
    panel.set(title=f"Answers a second, {LEVEL} requests in flight, one API worker", xlabel="requests a second")
    figure.savefig(path, dpi=110)


def _latency_by_products(by_contender: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    panel = figure.subplots()
    for name, measured in by_contender.items():
        cells = {n: cell for n, cell in measured.items() if _is_sound(cell)}
        counts = [int(n) for n in cells]
        _line(panel, name, counts, [cell["p50_ms"] for cell in cells.values()], "median")
        _line(panel, name, counts, [cell["p99_ms"] for cell in cells.values()], "99th percentile", dashed=True)
    panel.set(xscale="log", yscale="log", xlabel="products a request", ylabel="ms")
    panel.set_title(f"Latency against products, {LEVEL} requests in flight")
    _tick_plainly(panel, sorted({int(n) for measured in by_contender.values() for n in measured}))
    panel.legend(fontsize="small")
    figure.savefig(path, dpi=110)


def _line(panel: Axes, name: str, x: list[int], y: list[float], what: str = "", *, dashed: bool = False) -> None:
    panel.plot(
        x,
        y,
        marker="o",
        markersize=4,
        color=COLOURS.get(name),
        label=f"{name} {what}".strip(),
        linestyle="--" if dashed else "-",
        linewidth=2.4 if name in OURS else 1.4,
    )


def _tick_plainly(panel: Axes, ticks: list[int]) -> None:
    panel.set_xticks(ticks, [str(tick) for tick in ticks])
    panel.xaxis.minorticks_off()
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.grid(alpha=0.3)


def _is_sound(cell: dict[str, Any]) -> bool:
    """Say whether latencies are those of answers: those of refusals are none."""
    return bool(cell["errors"] <= cell["requests"] / 1000)
