"""`ranker features`: load, migrate, inspect and verify what the service reads from Redis.

Owns the options, what is printed and the exit codes; the work is in `ranker.ingest` and
`ranker.upkeep`, imported late.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ranker.cli import place
from ranker.cli.display import report
from ranker.cli.display.output import JSON, CleanGroup, examples, say_when_interrupted
from ranker.cli.feature_options import FILE, MAX_RATE, MODEL, ROUNDING, SENTINEL, dialect_options, entity_option
from ranker.cli.features.verify import verify

if TYPE_CHECKING:
    from ranker.ingest.files.dialect import Dialect
    from ranker.ingest.record import Entity


@click.group(
    cls=CleanGroup,
    short_help="Load, migrate, inspect and verify the features in Redis.",
    epilog=examples(
        "ranker features load products.csv --entity product --model shoes",
        "ranker features inspect p7 --model shoes",
        "ranker features verify --model shoes --products products.csv",
    ),
)
def features() -> None:
    """Load, migrate, inspect and verify the features in Redis (RANKER_REDIS_URL)."""


features.add_command(verify)


@features.command(
    epilog=examples(
        "ranker features load users.csv --entity user --model shoes",
        "ranker features load part-*.parquet --entity product --id-column sku --max-rate 20000",
        "ranker features load users.csv --entity user --model shoes --resume",
    ),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=FILE)
@entity_option(required=True)
@MODEL
@click.option("--id-column", default="id", show_default=True, metavar="NAME", help="The column with the ids.")
@dialect_options
@click.option(
    "--on-error", type=click.Choice(["fail", "skip"]), default="fail", show_default=True,
    help="Write nothing when a row cannot be loaded, or leave such rows out.",
)  # fmt: skip
@click.option("--rejects", type=FILE, metavar="FILE", help="List the rows that cannot be loaded here, as JSON Lines.")
@click.option(
    "--ttl", type=click.FloatRange(min=0.001), metavar="SECONDS", show_default="never", help="When the vectors expire."
)
@MAX_RATE
@ROUNDING
@click.option("--resume", is_flag=True, help="Go on where an interrupted load of these files stopped.")
@SENTINEL
@JSON
def load(
    files: tuple[Path, ...],
    entity: Entity,
    model: str | None,
    id_column: str,
    dialect: Dialect,
    on_error: Literal["fail", "skip"],
    rejects: Path | None,
    ttl: float | None,
    max_rate: float | None,
    allow_rounding: bool,
    resume: bool,
    sentinel_service: str | None,
    as_json: bool,
) -> None:
    """Load vectors from Parquet, CSV, JSON Lines, Arrow or NPZ files into Redis.

    Columns are matched to the model's features by name; others are ignored. All rows are checked before the first is
    written, so files that are at fault change nothing. Parquet, CSV and Arrow need bento-ranker[files].
    """
    from ranker.cli.display.progress import Progress
    from ranker.ingest.load import LoadOptions
    from ranker.ingest.load import load as load_files

    options = LoadOptions(
        entity=entity,
        schema=place.schema(model),
        id_column=id_column,
        on_error=on_error,
        rejects=rejects,
        ttl_s=ttl,
        max_rate=max_rate,
        allow_rounding=allow_rounding,
        resume=resume,
        sentinel_service=sentinel_service,
        dialect=dialect,
    )
    say_when_interrupted("What was written stays; the same command with --resume goes on from there.")
    with Progress() as progress:
        loaded = load_files(files, place.settings().redis_url, options, progress)
    report.show_loaded(loaded, entity, as_json)


@features.command(
    epilog=examples(
        "ranker features migrate --entity product --model shoes --dry-run",
        "ranker features migrate --from-pattern 'product:*' --model shoes --max-rate 20000",
        "ranker features migrate --entity product --model shoes --to json",
    ),
)
@click.option("--from-pattern", "pattern", metavar="PATTERN", help="Keys, as SCAN takes them, such as 'product:*'.")
@entity_option(required=False)
@MODEL
@click.option(
    "--to", type=click.Choice(["binary", "json", "json-in-json"]), default="binary", show_default=True,
    help="The form to write; the last two undo a migration.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Write nothing; say what a sample of the keys would save.")
@click.option("--sample", type=click.IntRange(1), default=1000, show_default=True, help="Keys looked at by --dry-run.")
@MAX_RATE
@ROUNDING
@SENTINEL
@JSON
def migrate(
    pattern: str | None,
    entity: Entity | None,
    model: str | None,
    to: Literal["binary", "json", "json-in-json"],
    dry_run: bool,
    sample: int,
    max_rate: float | None,
    allow_rounding: bool,
    sentinel_service: str | None,
    as_json: bool,
) -> None:
    """Rewrite JSON vectors in binary, in place, while the service serves and others write.

    Without --from-pattern, all keys of --entity or --group are taken. A vector that somebody else writes in between is
    left as it is. Times to live stay. What is migrated already is passed by, so after an interruption run it again.
    Exits with 1 when keys had to be left in another form.
    """
    from ranker.ingest.record import entity_schema
    from ranker.upkeep.forms import Converter
    from ranker.upkeep.scan import entity_of, pattern_of

    schema = place.schema(model)
    if pattern is None and entity is None:
        raise click.UsageError("Give --from-pattern, --entity or --group.")
    part = entity_schema(schema, entity or entity_of(pattern or "", schema))
    pattern = pattern or pattern_of(part)
    converter = Converter(schema, part, to, allow_rounding=allow_rounding)
    with place.connected(sentinel_service) as client:
        if dry_run:
            from ranker.upkeep.savings import measure

            report.show_savings(measure(client, pattern, converter, sample), to, as_json)
            return
        from ranker.cli.display.progress import Progress
        from ranker.upkeep.migrate import migrate as migrate_keys

        say_when_interrupted("What was rewritten stays; run it again, and it goes on with the rest.")
        with Progress() as progress:
            done = migrate_keys(client, pattern, converter, max_rate, lambda n: progress.began("Migrating", n, 0))
    report.show_migrated(done, to, as_json)
    sys.exit(int(bool(done.refused or done.changed)))


@features.command(
    epilog=examples(
        "ranker features inspect u7 --model shoes",
        "ranker features inspect p42 --entity product --json",
    ),
)
@click.argument("identifier", metavar="ID")
@entity_option(required=False)
@MODEL
@SENTINEL
@JSON
def inspect(
    identifier: str, entity: Entity | None, model: str | None, sentinel_service: str | None, as_json: bool
) -> None:
    """Show what is stored for an id: each feature by name, the form, bytes, TTL.

    Without --entity or --group, users, products and all groups are looked at, and shown where there is one. Exits with
    1 when the service would count the id as missing.
    """
    from ranker.upkeep.inspection import inspect as inspect_id

    schema = place.schema(model)
    with place.connected(sentinel_service) as client:
        looked = [inspect_id(client, schema, one, identifier) for one in ([entity] if entity else schema.entities)]
    found = [one for one in looked if one.bytes is not None] or looked
    report.show_inspections(found, as_json)
    sys.exit(int(any(one.problem for one in found)))
