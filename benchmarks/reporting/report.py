"""Report: turns a result into a table to read and plots to see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.reporting.profiles import of_profile, preparing, preparing_table, profiles_table
from benchmarks.reporting.tables import table

Result = dict[str, Any]

DISTURBED_CORES = 0.1
"""A figure during which others kept more of a core busy is not to be quoted."""

NOT_MEASURED = """\
Everything runs on one machine: contender, Redis and load generator share its cores, and there is no network between
them: compare ratios within one run, not absolute figures. Where "others' cores" is more than a few hundredths, other
processes disturbed the measurement: do not trust its maxima. This affects the usual design most, because ONNX
Runtime's thread pool spins. Models and training data are seeded. Products follow a Zipf law and users are few, so a
cache is warm after seconds; the sweep "cache" measures without one. The closed loop (wrk) keeps a number of requests
in flight, so it sends less to a slow service; the open loop sends at a fixed rate and counts latency from the intended
send time. Latency percentiles of the closed loop include error answers; throughput counts answers with status 200."""


def write(result: Result, directory: Path) -> None:
    """Write `latest.md`, the tables that the pages include, and the plots beside `latest.json`."""
    (directory / "latest.md").write_text(markdown(result))
    tables = [profiles_table(result), *([preparing_table(result)] if preparing(result) else [])]
    (directory / "profiles.md").write_text("\n\n".join(tables) + "\n")
    if "light" in result["profiles"]:
        light = of_profile(result, "light")
        (directory / "light.md").write_text(f"{_conditions(light)}\n\n{levels_table(light)}\n")
    try:
        from benchmarks.reporting import plots
    except ImportError:
        print("matplotlib is not installed: no plots")
        return
    plots.write(result, directory)


def markdown(result: Result) -> str:
    """Return the whole report."""
    machine = result["machine"]
    conditions = (
        f"Commit `{result['commit']}`; "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['kernel']}, "
        f"Python {machine['python']}, load average before: {machine['load_average_before']}. "
        "One API worker each; medians, in brackets the lowest and highest round."
    )
    parts = ["# Benchmark", f"`{result['command']}`", conditions]
    parts += ["## Profiles, 64 requests in flight", profiles_table(result)]
    if preparing(result):
        parts += ["## Split and whole, one request at a time", preparing_table(result)]
    for name in result["profiles"]:
        parts += _profile_parts(name, of_profile(result, name))
    return "\n\n".join([*parts, "## What it does not say", NOT_MEASURED]) + "\n"


def _conditions(result: Result) -> str:
    settings = result["settings"]
    rounds = f"{settings['rounds']} round{'s' if settings['rounds'] > 1 else ''}"
    return (
        f"{settings['model'][:1].upper()}{settings['model'][1:]}; {settings['features']} features; "
        f"{settings['products_per_request']} of {settings['products']:,} products a request. "
        f"Closed loop: {rounds} of {settings['closed_s']:g} s "
        f"after {settings['warm_up_s']:g} s of warm-up. Commit `{result['commit'][:7]}`."
    )


def _profile_parts(name: str, result: Result) -> list[str]:
    parts = [f"## Profile `{name}`", _conditions(result), "### Closed loop", closed_table(result)]
    if any(contender["open"] for contender in result["contenders"].values()):
        parts += ["### Open loop", open_table(result)]
    for sweep, by_contender in result["sweeps"].items():
        parts += [f"### Sweep: {sweep}", sweep_table(by_contender)]
    if result["observing"]:
        parts += ["### Metrics and timings, on by default", observing_table(result["observing"])]
    if result["failed"]:
        failures = [f"- {name}: {reason.splitlines()[0]}" for name, reason in result["failed"].items()]
        parts += ["### Failed", "\n".join(failures)]
    return parts


def levels_table(result: Result) -> str:
    """Return a row for each contender of a profile and number of requests in flight, with what matters most."""
    rows = []
    for name, contender in result["contenders"].items():
        for level, cell in contender["closed"].items():
            served = [f"{cell['rps']:,.0f}", f"{cell['p50_ms']:,.1f}", f"{cell['p99_ms']:,.1f}"]
            rows.append([name, level, *served, _errors(cell), f"{cell['cpu_s_per_1000']:.2f}"])
    return table(["contender", "in flight", "req/s", "p50 ms", "p99 ms", "errors", "CPU ms a request"], rows)


def closed_table(result: Result) -> str:
    """Return a row for each contender and number of requests in flight."""
    rows = []
    for name, contender in result["contenders"].items():
        for level, cell in contender["closed"].items():
            ratio = _ratio(result, level, cell)
            rows.append([name, level, _with_spread(cell, "rps"), ratio, *_figures(cell)])
    return table(["contender", "in flight", "req/s", "x usual", *FIGURES], rows)


def open_table(result: Result) -> str:
    """Return a row for each contender and rate."""
    rows = []
    for name, contender in result["contenders"].items():
        for load, cell in contender["open"].items():
            label = load if load.endswith("%") else "fixed"
            late = f"{cell['late_p99_ms']:.1f}"
            rows.append([name, label, f"{cell['rate']:.0f}", f"{cell['rps']:.0f}", *_figures(cell), late])
    return table(["contender", "of its maximum", "asked/s", "answered/s", *FIGURES, "sent late, p99 ms"], rows)


def sweep_table(by_contender: dict[str, dict[str, Any]]) -> str:
    """Return a row for each contender and variant."""
    rows = [
        [name, variant, f"{cell['rps']:.0f}", *_figures(cell)]
        for name, variants in by_contender.items()
        for variant, cell in variants.items()
    ]
    return table(["contender", "variant", "req/s", *FIGURES], rows)


def observing_table(observing: dict[str, dict[str, float]]) -> str:
    """Return a row for each contender of this project."""
    rows = [
        [name, f"{cost['us']:.1f}", f"{cost['request_us']:.0f}", f"{cost['share']:.1%}"]
        for name, cost in observing.items()
    ]
    return table(["contender", "CPU us", "of a request's us", "share"], rows)


FIGURES = ("p50 ms", "p99 ms", "p99.9 ms", "max ms", "errors", "CPU s/1000", "Redis CPU s/1000", "MB", "others' cores")


def _figures(cell: dict[str, Any]) -> list[str]:
    return [
        f"{cell['p50_ms']:.1f}",
        _with_spread(cell, "p99_ms", 1),
        f"{cell['p999_ms']:.1f}",
        f"{cell['max_ms']:.0f}",
        _errors(cell),
        f"{cell['cpu_s_per_1000']:.2f}",
        f"{cell['redis_cpu_s_per_1000']:.2f}",
        f"{cell['rss_mb']:.0f}",
        f"{cell['others_cores']:.2f}",
    ]


def _errors(cell: dict[str, Any]) -> str:
    return f"{cell['errors']}" + (f" of {cell['requests']}" if cell["errors"] else "")


def _with_spread(cell: dict[str, Any], name: str, digits: int = 0) -> str:
    text = f"{cell[name]:.{digits}f}"
    if "spread" not in cell:
        return text
    low, high = cell["spread"][name]
    return f"{text} ({low:.{digits}f} to {high:.{digits}f})"


def _ratio(result: Result, level: str, cell: dict[str, Any]) -> str:
    """Return the throughput over the usual design's, marked when somebody else's work took part in either."""
    usual = result["contenders"].get("usual", {}).get("closed", {}).get(level)
    if not usual or not usual["rps"]:
        return "-"
    disturbed = max(cell["others_cores"], usual["others_cores"]) > DISTURBED_CORES
    return f"{cell['rps'] / usual['rps']:.1f}{' (disturbed)' if disturbed else ''}"
