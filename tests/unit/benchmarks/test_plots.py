"""Plots of the committed result: who is named where, what is marked, and under which conditions."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from benchmarks.reporting import plots
from tests.support.pages import PROJECT

RESULT: dict[str, Any] = json.loads((PROJECT / "benchmarks" / "results" / "latest.json").read_text())


@pytest.fixture(scope="module")
def figures() -> dict[str, Figure]:
    return plots.make_figures(RESULT)


def test_each_line_is_named_at_its_end_and_ours_alone_are_coloured(figures: dict[str, Figure]) -> None:
    for panel in figures["latency-in-flight"].axes:
        assert {text.get_text() for text in panel.texts} == set(RESULT["contenders"])
        assert panel.get_legend() is None
        for line in panel.get_lines():
            if line.get_label() in RESULT["contenders"]:
                assert to_hex(line.get_color()) == plots.OURS.get(str(line.get_label()), plots.GREY)


def test_names_that_end_together_are_apart_and_inside(figures: dict[str, Figure]) -> None:
    for panel in figures["latency-in-flight"].axes:
        heights = sorted(text.xy[1] for text in panel.texts if text.xy[0] > 0.5)  # type: ignore[attr-defined]
        assert all(b - a >= plots.APART - 1e-9 for a, b in itertools.pairwise(heights))
        assert heights[-1] < 1


def test_who_refused_is_marked_where_it_began(figures: dict[str, Figure]) -> None:
    for panel in figures["latency-in-flight"].axes:
        (cross,) = (line for line in panel.get_lines() if line.get_marker() == "x")
        assert list(cross.get_xdata()) == [1]  # bentoml-default answered one at a time, and not 16


def test_bars_are_sorted_and_say_their_numbers(figures: dict[str, Figure]) -> None:
    (panel,) = figures["throughput"].axes
    widths = [bar.get_width() for bar in panel.patches]  # type: ignore[attr-defined]
    assert widths == sorted(widths)
    assert f"{widths[-1]:,.0f}" in {text.get_text() for text in panel.texts}


def test_line_that_falls_where_the_load_rises_stays_points(figures: dict[str, Figure]) -> None:
    widths = [
        line.get_linewidth() for line in figures["latency-products"].axes[1].get_lines() if line.get_marker() == "o"
    ]
    assert 0 in widths


def test_conditions_stand_below(figures: dict[str, Figure]) -> None:
    for figure in figures.values():
        assert RESULT["commit"][:7] in figure.get_supxlabel()
        assert "2 cores" in figure.get_supxlabel()
