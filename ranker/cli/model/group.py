"""`ranker model`: the group of its commands, and `show`, which says what a stored model takes and gives.

Imports bentoml, ONNX Runtime, YAML and rich inside the commands, so that `ranker --help` answers at once.
"""

from __future__ import annotations

import json

import click

from ranker.cli.display.graph import graph_json, graph_pairs
from ranker.cli.display.output import JSON, CleanGroup, console, examples, print_pairs, print_table
from ranker.cli.display.split import pair_part_rows, split_json, split_pairs
from ranker.cli.model.diff import diff
from ranker.cli.model.importing import import_
from ranker.cli.model.store import list_, print_models, rm, summary_of
from ranker.cli.model.suggest import suggest
from ranker.vectors.feature import ContextFeature, Feature, ProductContextFeature
from ranker.vectors.group import EntitySchema, FeatureGroup
from ranker.vectors.side_information import SideInformation

MAX_LISTED_CATEGORIES = 8


@click.group(
    cls=CleanGroup,
    epilog=examples(
        "ranker model import model.onnx --schema schema.yaml --name shoes",
        "ranker model show shoes",
        "ranker model list",
    ),
)
def model() -> None:
    """Import ranking models into the Bento model store, and show them."""


model.add_command(diff)
model.add_command(import_)
model.add_command(list_)
model.add_command(rm)
model.add_command(suggest)


@model.command(
    epilog=examples(
        "ranker model show shoes:2",
        "ranker model show --json",
    ),
)
@click.argument("tag", required=False)
@JSON
def show(tag: str | None, as_json: bool) -> None:
    """Show a stored model: features in their order, defaults, keys, inputs and output. Without TAG, list the models."""
    from ranker.scoring.registry import find_model, load_model, size_of

    if tag is None:
        print_models(as_json)
        return
    stored = find_model(tag)
    loaded = load_model(stored)
    if as_json:
        click.echo(json.dumps(summary_of(stored) | graph_json(loaded.whole) | split_json(loaded)))
        return
    created = f"{stored.info.creation_time:%Y-%m-%d %H:%M} UTC"
    print_pairs(
        {
            "Model": str(stored.tag),
            "Created": created,
            "Size": f"{size_of(stored):,} bytes",
            **graph_pairs(loaded.whole),
            **split_pairs(loaded),
        }
    )
    if loaded.split is not None and (kept := pair_part_rows(loaded)):
        console().print("\nRun for each pair of a request and a product:", markup=False)
        print_table(("operator", "where", "why"), kept)
    for name, group in loaded.schema.groups.items():
        columns = "" if group.is_plain else f" in {group.width} columns"
        console().print(f"\n{name}: {len(group.features)} features{columns}, {_origin(name, group)}", markup=False)
        rows = [[group.slices[f.name].start, f.name, f.default_text, _values(f, group)] for f in group.features]
        titles = ["column", "feature", "default", "values"]
        shown = 4 if any(row[3] for row in rows) else 3
        print_table(titles[:shown], [row[:shown] for row in rows])


def _origin(name: str, group: FeatureGroup) -> str:
    """Say where the values of a group come from."""
    if isinstance(group, EntitySchema):
        return f"stored under {group.key}" + ("" if group.format == "ranker" else f" as {group.format}")
    if isinstance(group, SideInformation):
        return f"looked up among products by the ids in {group.of}.{group.history}"
    return "given in a request" + (" for each product" if name == "productContext" else "")


def _values(feature: Feature, group: FeatureGroup) -> str:
    """Say which texts a feature takes and where from, or that no hash may lack it; empty for plain numbers."""
    if isinstance(group, EntitySchema) and (feature.min is not None or feature.max is not None):
        many = isinstance(feature.min, tuple) or isinstance(feature.max, tuple)
        return "bounds of each element" if many else f"{feature.min} to {feature.max}"
    if isinstance(group, EntitySchema):
        return "required" if group.is_hash and not feature.may_lack else ""
    known: list[str] = []
    if isinstance(feature, ProductContextFeature):
        known += (f"{text}={number:g}" for text, number in (feature.categories or {}).items())
    if isinstance(feature, ContextFeature):
        known += (f"{text}…={number:g}" for text, number in (feature.prefixes or {}).items())
    listed = ", ".join(known[:MAX_LISTED_CATEGORIES])
    if len(known) > MAX_LISTED_CATEGORIES:
        listed += f" and {len(known) - MAX_LISTED_CATEGORIES} more"
    source = feature.source if isinstance(feature, ContextFeature) else None
    return f"{source}: {listed}" if source else listed


if __name__ == "__main__":
    model(prog_name="ranker model")
