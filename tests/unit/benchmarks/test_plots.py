"""Plots of a result: who is named where, what is marked, and under which conditions."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from benchmarks.reporting import plots, style
from tests.support.pages import PROJECT
from tests.unit.benchmarks.results import RPS, make_result

RESULT = make_result()


@pytest.fixture(scope="module")
def figures() -> dict[str, Figure]:
    return plots.make_figures(RESULT)


def bars(panel: Axes) -> dict[str, Any]:
    names = [label.get_text() for label in panel.figure.axes[0].get_yticklabels()]  # the panels share them
    return dict(zip(names, panel.patches, strict=True))


def test_each_line_is_named_at_its_end_and_ours_alone_are_coloured(figures: dict[str, Figure]) -> None:
    for panel in figures["latency-in-flight-trees"].axes:
        assert {text.get_text() for text in panel.texts} == set(RPS)
        assert panel.get_legend() is None
        for line in panel.get_lines():
            if line.get_label() in RPS:
                assert to_hex(line.get_color()) == style.OURS.get(str(line.get_label()), style.GREY)


def test_names_that_end_together_are_apart_and_inside(figures: dict[str, Figure]) -> None:
    for panel in figures["latency-in-flight-light"].axes:
        heights = sorted(text.xy[1] for text in panel.texts if text.xy[0] > 0.5)  # type: ignore[attr-defined]
        assert all(b - a >= plots.APART - 1e-9 for a, b in itertools.pairwise(heights))
        assert heights[-1] < 1


def test_who_refused_is_marked_where_it_began(figures: dict[str, Figure]) -> None:
    for panel in figures["latency-in-flight-light"].axes:
        (cross,) = (line for line in panel.get_lines() if line.get_marker() == "x")
        assert list(cross.get_xdata()) == [1]


def test_throughput_shows_every_profile_relative_to_the_bare_app(figures: dict[str, Figure]) -> None:
    panels = figures["throughput"].axes
    for panel, (name, factor) in zip(panels, {"light": 1, "trees": 3}.items(), strict=True):
        texts = {text.get_text() for text in panel.texts}
        about = RESULT["profiles"][name]["settings"]
        assert {name, f"{about['features']} features; {about['model']}"} <= texts
        assert f"{factor * RPS['ranker-local']:,.0f} · {factor * 2.5:.1f}\N{MULTIPLICATION SIGN}" in texts
        assert "80 · 0.1\N{MULTIPLICATION SIGN} (refused or failed)" in texts
        widths = {contender: bar.get_width() for contender, bar in bars(panel).items()}
        assert widths["bare-asgi"] == 1
        assert widths["ranker-local"] == 2.5 * factor


def test_throughput_has_one_order_with_the_best_on_top_and_ours_alone_coloured(figures: dict[str, Figure]) -> None:
    for panel in figures["throughput"].axes:
        drawn = bars(panel)
        assert list(drawn) == sorted(RPS, key=RPS.__getitem__)
        for name, bar in drawn.items():
            assert to_hex(bar.get_facecolor()) == style.OURS.get(name, style.GREY)


def test_contender_that_a_profile_lacks_is_said_to_be_not_measured() -> None:
    result = make_result()
    del result["profiles"]["trees"]["contenders"]["usual"]
    light, trees = plots.make_figures(result)["throughput"].axes
    assert "not measured" not in {text.get_text() for text in light.texts}
    assert "not measured" in {text.get_text() for text in trees.texts}


def test_costs_say_each_number_and_join_a_request_alone_cold_and_warm(figures: dict[str, Figure]) -> None:
    cpu, tail, alone = figures["costs-trees"].axes
    assert [bar.get_width() for bar in cpu.patches] == [1.5] * len(RPS)  # type: ignore[attr-defined]
    assert {"1.50", "1.50 (refused or failed)"} == {text.get_text() for text in cpu.texts}
    assert "17" in {text.get_text() for text in tail.texts}
    joined = [line for line in alone.get_lines() if len(line.get_xdata()) == 2]
    assert [list(line.get_xdata()) for line in joined] == [[4.0, 2.0]] * len(RPS)
    assert {text.get_text() for text in alone.texts} == {"4.0 \N{RIGHTWARDS ARROW} 2.0"}


def test_profile_without_requests_alone_has_no_plot_of_costs() -> None:
    result = make_result()
    del result["profiles"]["trees"]["contenders"]["usual"]["alone"]
    assert {name for name in plots.make_figures(result) if name.startswith("costs")} == {"costs-light"}


def test_line_that_falls_where_the_load_rises_stays_points(figures: dict[str, Figure]) -> None:
    lines = figures["latency-products-light"].axes[0].get_lines()
    assert [line.get_linewidth() for line in lines if line.get_marker() == "o"] == [0]


def test_conditions_stand_below(figures: dict[str, Figure]) -> None:
    for figure in figures.values():
        assert figure.get_supxlabel().endswith("2 rounds of 3 s; commit 0123456")
        assert "2 cores" in figure.get_supxlabel()


def test_committed_result_has_the_committed_plots() -> None:
    results = PROJECT / "benchmarks" / "results"
    made = plots.make_figures(json.loads((results / "latest.json").read_text()))
    assert {f"{name}.png" for name in made} <= {path.name for path in results.iterdir()}


def test_page_shows_the_costs_of_every_profile(tmp_path: Path) -> None:
    plots.write(make_result(), tmp_path)
    shown = re.findall(r"\]\((\S+)\)", (tmp_path / "costs.md").read_text())
    assert shown == ["costs-light.png", "costs-trees.png"]
    assert all((tmp_path / name).exists() for name in shown)
