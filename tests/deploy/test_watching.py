"""Alerts and dashboard: rules that Prometheus accepts, and queries of what Ranker really measures."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from prometheus_client import REGISTRY

import ranker.serving.worker  # noqa: F401  # registers every metric
from deploy.generate import files
from deploy.panels import MINE, ROWS

PROJECT = Path(__file__).parent.parent.parent
RULES = PROJECT / "deploy" / "prometheus" / "rules.yml"
RULE_LIST: list[dict[str, Any]] = [rule for g in yaml.safe_load(RULES.read_text())["groups"] for rule in g["rules"]]
ALERTS = [rule for rule in RULE_LIST if "alert" in rule]
TARGET = {"job", "instance"}
OUTSIDE = {
    "up": TARGET,
    "container_memory_working_set_bytes": {"container", "pod"},  # cAdvisor
    "container_spec_memory_limit_bytes": {"container", "pod"},
}


def measured() -> dict[str, set[str]]:
    """Series name → its labels, of every metric that Ranker has."""
    series: dict[str, set[str]] = {}
    for metric in {m for name, m in REGISTRY._names_to_collectors.items() if name.startswith("ranker_")}:
        for family in metric.describe():
            labels = set(metric._labelnames) | TARGET
            if family.type == "counter":
                series[f"{family.name}_total"] = labels
            elif family.type == "gauge":
                series[family.name] = labels
            else:
                series |= {f"{family.name}_{suffix}": labels for suffix in ("sum", "count")}
                series[f"{family.name}_bucket"] = labels | {"le"}
    return series


def selectors(node: Any) -> Iterator[promql.VectorSelector]:
    """Yield what a query reads."""
    if isinstance(node, promql.VectorSelector):
        yield node
    elif isinstance(node, promql.MatrixSelector):
        yield node.vector_selector
    elif isinstance(node, promql.Call):
        for argument in node.args:
            yield from selectors(argument)
    elif isinstance(node, promql.BinaryExpr):
        yield from selectors(node.lhs)
        yield from selectors(node.rhs)
    elif isinstance(node, promql.AggregateExpr | promql.ParenExpr):
        yield from selectors(node.expr)
    else:
        assert isinstance(node, promql.NumberLiteral), node


def groupings(query: str) -> set[str]:
    return {label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", query) for label in labels.split(",")}


QUERIES = {rule.get("alert") or rule["record"]: rule["expr"] for rule in RULE_LIST} | {
    f"{panel.title}: {legend}": query.replace(MINE, 'job="a",instance=~"b"').replace("$__rate_interval", "1m")
    for row in ROWS.values()
    for panel in row
    for legend, query in panel.queries.items()
}


@pytest.mark.parametrize("name", QUERIES)
def test_query_reads_what_is_measured(name: str) -> None:
    known = measured() | OUTSIDE | {rule["record"]: {"job"} for rule in RULE_LIST if "record" in rule}
    read = list(selectors(promql.parse(QUERIES[name])))
    assert read
    labels: set[str] = set()
    for selector in read:
        assert selector.name in known
        assert {matcher.name for matcher in selector.matchers.matchers} <= known[selector.name]
        labels |= known[selector.name]
    assert groupings(QUERIES[name]) <= labels


@pytest.mark.parametrize("path", files())
def test_derived_file_is_up_to_date(path: Path) -> None:
    assert path.read_text() == files()[path], "run: python -m deploy.generate"


def test_legends_name_labels_of_their_query() -> None:
    for row in ROWS.values():
        for panel in row:
            for legend, query in panel.queries.items():
                assert set(re.findall(r"{{(\w+)}}", legend)) == groupings(query) - {"le"}, panel.title
            assert panel.good.startswith("Good: ")


def test_each_alert_has_a_section_of_the_runbook() -> None:
    headings = re.findall(r"^## (\w+)$", (PROJECT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in ALERTS]
    for rule in ALERTS:
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_panels_that_the_runbook_names_are_on_the_dashboard() -> None:
    named = set(re.findall(r'"([^"\n]+)"', (PROJECT / "docs" / "runbook.md").read_text()))
    assert named
    assert named <= {panel.title for row in ROWS.values() for panel in row}


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("CI has to have promtool (Debian's package prometheus)")
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    return found


def test_prometheus_accepts_the_rules(promtool: str) -> None:
    done = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULE_LIST)} rules found" in done.stdout


def test_alerts_fire_when_they_should(promtool: str, tmp_path: Path) -> None:
    test = tmp_path / "rules_test.yml"
    test.write_text((Path(__file__).parent / "rules_test.yml").read_text().replace("RULES", str(RULES)))
    done = subprocess.run([promtool, "test", "rules", test], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
