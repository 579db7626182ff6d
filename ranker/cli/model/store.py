"""`ranker model list` and `ranker model rm`: what the Bento model store holds, and less of it.

Owns which models may be removed by which name; imports bentoml inside the commands.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ranker.cli import place
from ranker.cli.completion import complete_tag
from ranker.cli.display.output import JSON, examples, print_table

if TYPE_CHECKING:
    from ranker.scoring.registry import StoredModel


@click.command(
    "list",
    epilog=examples(
        "ranker model list",
        "ranker model list --json | jq -r '.[].tag'",
    ),
)
@JSON
def list_(as_json: bool) -> None:
    """List the ranking models in the store."""
    print_models(as_json)


@click.command(
    epilog=examples(
        "ranker model rm shoes:1",
        "ranker model rm --yes shoes:1 shoes:2",
    ),
)
@click.argument("tags", nargs=-1, required=True, metavar="NAME:VERSION…", shell_complete=complete_tag)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@JSON
def rm(tags: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Remove models from the store, each named with its version.

    Nothing is removed unless all are there. A service that runs keeps what it has loaded, but cannot start again with a
    model that is gone. Features in Redis stay.
    """
    from ranker.scoring import model_store
    from ranker.scoring.registry import find_model

    stored = model_store.tags()
    for tag in tags:
        if ":" not in tag or tag.endswith(":latest"):
            name = tag.partition(":")[0]
            if not (versions := [other for other in stored if other.startswith(f"{name}:")]):
                find_model(tag)  # which says that there is none, and what is like it
            raise click.UsageError(f"{tag} names no version. There are: {', '.join(versions)}.")
    found = [tag if tag in stored else str(find_model(tag).tag) for tag in dict.fromkeys(tags)]
    served = place.served_model()
    if not yes:
        warning = f" {served} is what would be served from here." if served in found else ""
        click.confirm(f"Remove {', '.join(found)} from the model store?{warning}", abort=True, err=True)
    for tag in found:
        model_store.remove(tag)
    if as_json:
        click.echo(json.dumps({"removed": found}))
    else:
        click.echo(f"Removed {', '.join(found)}.")


def print_models(as_json: bool) -> None:
    """Print the ranking models in the store, and on stderr which tags are damaged."""
    from ranker.scoring.model_store import describe_damage, read_all
    from ranker.scoring.registry import list_models

    models = [summary_of(stored) for stored in list_models()]
    if as_json:
        click.echo(json.dumps(models))
    elif models:
        print_table(models[0], [one.values() for one in models])
    else:
        click.echo("The model store holds no ranking model; `ranker model import` stores one.")
    for damaged in read_all()[1]:
        click.echo(f"Warning: {describe_damage(damaged)}", err=True)


def summary_of(stored: StoredModel) -> dict[str, Any]:
    """Return what a list of models says of each."""
    from ranker.scoring.registry import is_split, schema_of, size_of

    schema = schema_of(stored)
    return {
        "tag": str(stored.tag),
        "fingerprint": f"{schema.fingerprint:08x}",
        "user_width": schema.user.width,
        "product_width": schema.product.width,
        "size_bytes": size_of(stored),
        "served": "in parts" if is_split(stored) else "whole",
        "created": stored.info.creation_time.isoformat(timespec="seconds"),
    }
