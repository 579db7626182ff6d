"""`ranker features verify`: whether what is stored is what was meant. Owns options, what is printed, the exit code."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from ranker.cli import place
from ranker.cli.display import report
from ranker.cli.display.output import JSON, examples
from ranker.cli.feature_options import (
    FILE,
    MODEL,
    ROUNDING,
    SENTINEL,
    dialect_options,
    entity_option,
    files_by_name,
)
from ranker.cli.token import TOKEN, token_in

if TYPE_CHECKING:
    from ranker.ingest.files.dialect import Dialect
    from ranker.ingest.record import Entity
    from ranker.upkeep.finding import Finding


@click.command(
    epilog=examples(
        "ranker features verify --model shoes",
        "ranker features verify --model shoes --users users.csv --products products.csv --service http://127.0.0.1:3000",
    ),
)
@entity_option(required=False)
@MODEL
@click.option(
    "--ids", type=click.File(encoding="utf-8-sig"), metavar="FILE", help="Ids that must have a vector, one a line."
)
@click.option("--sample", type=click.IntRange(1), default=10_000, show_default=True, help="Stored vectors looked at.")
@click.option("--all", "everything", is_flag=True, help="Look at all of them.")
@click.option(
    "--users", type=FILE, metavar="FILE", help="Compare the stored users with a training file, number by number."
)
@click.option("--products", type=FILE, metavar="FILE", help="The same for the products.")
@click.option(
    "--group-rows", "groups", metavar="NAME=FILE", multiple=True, callback=files_by_name,
    help="The same for one of the schema's `groups:`; again for each of them.",
)  # fmt: skip
@click.option("--id-column", default="id", show_default=True, metavar="NAME", help="The column with the ids there.")
@dialect_options
@click.option(
    "--service", metavar="URL", help="With --users and --products: ask for rankings, and compute the scores here."
)
@TOKEN
@ROUNDING
@SENTINEL
@JSON
def verify(
    entity: Entity | None,
    model: str | None,
    ids: TextIO | None,
    sample: int,
    everything: bool,
    users: Path | None,
    products: Path | None,
    groups: dict[str, Path],
    id_column: str,
    dialect: Dialect,
    service: str | None,
    token_env: str | None,
    allow_rounding: bool,
    sentinel_service: str | None,
    as_json: bool,
) -> None:
    """Check the stored features: the last load, forms, values, coverage, and parity with training files.

    Nothing is written. Exits with 1 when something fails.
    """
    if ids is not None and entity is None:
        raise click.UsageError("--ids needs --entity or --group.")
    if service is not None and (users is None or products is None):
        raise click.UsageError("--service needs --users and --products.")
    if token_env is not None and service is None:
        raise click.UsageError("--token-env needs --service.")
    from ranker.upkeep.verification import Wanted, findings, ids_in

    schema = place.schema(model)
    wanted = Wanted(
        entities=(entity,) if entity else tuple(schema.entities),
        model=(model or place.served_model()) if service is not None else None,
        ids=None if ids is None else ids_in(ids),
        sample=None if everything else sample,
        files={"user": users, "product": products, **groups},
        id_column=id_column,
        service=service,
        token=token_in(token_env),
        allow_rounding=allow_rounding,
        dialect=dialect,
    )
    found: list[Finding] = []
    with place.connected(sentinel_service) as client:
        for finding in findings(client, wanted, schema):
            found.append(finding)
            if not as_json:
                report.show_finding(finding)
    failed = any(finding.status == "fail" for finding in found)
    if as_json:
        click.echo(json.dumps({"ok": not failed, "findings": [asdict(finding) for finding in found]}))
    sys.exit(int(failed))
