"""Style of all plots: ours are coloured and the others grey, and the conditions stand below."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

OURS = {
    "ranker-local": "#0b6e4f",
    "ranker-service": "#2a9d74",
    "ranker-local-whole": "#8fbfae",
    "ranker-service-whole": "#a9d8c6",
}
GREY, DARK_GREY = "#b3b8c0", "#5d636e"
"""Lines and bars of others, and their names."""


def colour(name: str) -> str:
    """Return a contender's colour."""
    return OURS.get(name, GREY)


def say_conditions(figure: Figure, result: dict[str, Any], before: str = "") -> None:
    """Write below a figure what it was measured on."""
    machine, settings = result["machine"], result["settings"]
    figure.supxlabel(
        f"{before}{machine['cores']} cores ({machine['cpu']}), which also run Redis and the generator; "
        f"Python {machine['python']}; {settings['rounds']} rounds of {settings['closed_s']:g} s; "
        f"commit {result['commit'][:7]}",
        fontsize="small",
        color=DARK_GREY,
    )


def is_sound(cell: dict[str, Any]) -> bool:
    """Say whether latencies are those of answers: those of refusals are none."""
    return bool(cell["errors"] <= cell["requests"] / 1000)
