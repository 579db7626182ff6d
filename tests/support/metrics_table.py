"""The metrics three ways: as the code declares them, as the documentation lists them, as a service shows them."""

from __future__ import annotations

import re

from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from ranker.telemetry.metrics import instruments
from tests.support.pages import marked, page

NOT_LABELS = {"le"}
"""Of histograms' buckets."""


def rows_of_the_code() -> list[str]:
    """The documentation's rows, as the objects give them, in their order."""
    declared = [value for value in vars(instruments).values() if isinstance(value, MetricWrapperBase)]
    rows = []
    for metric in declared:
        name = metric._name + "_total" * (metric._type == "counter")
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        rows.append(f"| `{name}` | {metric._type} | {labels} | {metric._documentation} |")
    return rows


def documented() -> list[str]:
    """The rows that the documentation has."""
    return marked(page("reference/monitoring"), "metrics").splitlines()[2:]


def shown(text: str) -> list[str]:
    """What `/metrics` shows of ours, as the documentation's rows without their meaning, sorted."""
    rows = []
    for family in text_string_to_metric_families(text):
        if family.name.startswith("ranker_"):
            name = family.name + "_total" * (family.type == "counter")
            labels = {label for sample in family.samples for label in sample.labels} - NOT_LABELS
            rows.append((name, family.type, frozenset(labels)))
    return sorted(map(str, ((name, kind, sorted(labels)) for name, kind, labels in rows)))


def documented_as_shown() -> list[str]:
    """The documentation's rows in the form of `shown`."""
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in documented()]
    return sorted(
        str((name.strip("`"), kind, sorted(re.findall(r"`(\w+)`", labels)))) for name, kind, labels, _ in rows
    )
