"""`ranker model list` and `ranker model rm`: what the Bento model store holds, and less of it.

Owns which models may be removed by which name; imports bentoml inside the commands.
"""

from __future__ import annotations

import json

import click

from ranker.cli import place
from ranker.cli.completion import complete_tag
from ranker.cli.display.output import examples

JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")


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
    from ranker.cli.model.group import show  # which imports this module

    click.get_current_context().invoke(show, tag=None, as_json=as_json)


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
    import bentoml

    from ranker.scoring.registry import find_model, list_models

    for tag in tags:
        if ":" not in tag or tag.endswith(":latest"):
            stored = find_model(tag)
            there = [str(model.tag) for model in list_models() if model.tag.name == stored.tag.name]
            raise click.UsageError(f"{tag} names no version. There are: {', '.join(there)}.")
    found = [str(find_model(tag).tag) for tag in dict.fromkeys(tags)]
    served = place.served_model()
    if not yes:
        warning = f" {served} is what would be served from here." if served in found else ""
        click.confirm(f"Remove {', '.join(found)} from the model store?{warning}", abort=True, err=True)
    for tag in found:
        bentoml.models.delete(tag)
    if as_json:
        click.echo(json.dumps({"removed": found}))
    else:
        click.echo(f"Removed {', '.join(found)}.")
