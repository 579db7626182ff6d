"""`ranker config`: the settings that hold here, and where each comes from. Owns what is shown of what is secret."""

from __future__ import annotations

import json
import os

import click

from ranker.cli import place
from ranker.cli.display.output import JSON, examples, print_table
from ranker.settings.environment import Settings, embedded_redis
from ranker.settings.variables import PREFIX

HIDDEN = "(set; not shown)"


@click.command(
    short_help="Show the settings in effect here, and where each comes from.",
    epilog=examples(
        "ranker config --changed",
        "RANKER_CACHE_MB=256 ranker config --json",
    ),
)
@JSON
@click.option("--changed", is_flag=True, help="Only those that are not the default.")
def config(as_json: bool, changed: bool) -> None:
    """Show the settings that the service would start with from here, and where each comes from.

    What may hold a password or a token is not shown; of the Redis URL, only which server it names.
    """
    given = place.defaults()
    settings = Settings.from_env(os.environ, given)
    rows = []
    for name, field in Settings.model_fields.items():
        variable = f"{PREFIX}{name.upper()}"
        source = "the environment" if variable in os.environ else _source(name) if name in given else "default"
        value = getattr(settings, name)
        if not field.repr and value is not None:
            value = _public(name, value)
        if source != "default" or not changed:
            rows.append((variable, value, source))
    if as_json:
        click.echo(
            json.dumps({variable: {"value": value, "from": source} for variable, value, source in rows}, default=str)
        )
        return
    print_table(("setting", "value", "from"), [(v, "unset" if value is None else value, s) for v, value, s in rows])


def _source(name: str) -> str:
    """Return where a default comes from that the environment did not give."""
    return ".ranker, of ranker demo" if name in embedded_redis() else "the Bento"


def _public(name: str, value: str) -> str:
    """Return what may be shown of a secret setting."""
    if name != "redis_url":
        return HIDDEN
    from ranker.redis.url import parse

    return parse(value).where
