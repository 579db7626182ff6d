"""Write what is derived: the Grafana dashboard, and the alerts as the Prometheus Operator takes them.

`python -m deploy.generate`, after a change of `deploy/panels.py` or `deploy/prometheus/rules.yml`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from deploy.panels import COLOURS, RED, ROWS, Panel

DEPLOY = Path(__file__).parent
WIDTH, HEIGHT = 24, 8
"""Of the dashboard's grid, and of a panel in it."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> dict[str, Any]:
    """Return the dashboard, as Grafana 9 and newer import it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": _at(0, y, WIDTH, 1)})
        width = WIDTH // len(row)
        panels += [_panel(panel, _at(i * width, y + 1, width, HEIGHT)) for i, panel in enumerate(row)]
        y += 1 + HEIGHT
    return {
        "uid": "ranker",
        "title": "Ranker",
        "tags": ["ranker"],
        "schemaVersion": 38,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                _variable("job", "Job", "label_values(ranker_requests_total, job)"),
                _variable("instance", "Instance", 'label_values(ranker_requests_total{job="$job"}, instance)')
                | {"multi": True, "includeAll": True, "allValue": ".*"},
            ]
        },
        "panels": [panel | {"id": i} for i, panel in enumerate(panels, 1)],
    }


def rule_resource() -> dict[str, Any]:
    """Return the rules as a resource of the Prometheus Operator."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "ranker", "labels": {"app.kubernetes.io/name": "ranker"}},
        "spec": rules,
    }


def files() -> dict[Path, str]:
    """Return what belongs into each derived file."""
    rules = yaml.safe_dump(rule_resource(), sort_keys=False, width=120)
    return {
        DEPLOY / "grafana" / "dashboards" / "ranker.json": json.dumps(dashboard(), indent=1) + "\n",
        DEPLOY / "kubernetes" / "components" / "monitoring" / "rules.yaml": (
            f"# Made from deploy/prometheus/rules.yml: python -m deploy.generate\n{rules}"
        ),
    }


def _at(x: int, y: int, w: int, h: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    # refresh 2: whenever the time range changes, for instances come and go
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
    }


def _coloured(legend: str, colour: str) -> dict[str, Any]:
    value = {"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}
    return {"matcher": {"id": "byName", "options": legend}, "properties": [value]}


def _panel(panel: Panel, position: dict[str, int]) -> dict[str, Any]:
    drawn = {"lineWidth": 1, "fillOpacity": 25 if panel.stacked else 0, "showPoints": "never"}
    if panel.stacked:
        drawn["stacking"] = {"mode": "normal", "group": "A"}
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.good,
        "datasource": SOURCE,
        "gridPos": position,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": drawn,
                "color": {"mode": "shades", "fixedColor": RED} if panel.bad else {"mode": "palette-classic"},
            },
            "overrides": [
                _coloured(legend, colour)
                for legend, colour in COLOURS.items()
                if legend in panel.queries or "{{outcome}}" in panel.queries
            ],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for i, (legend, query) in enumerate(panel.queries.items())
        ],
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
