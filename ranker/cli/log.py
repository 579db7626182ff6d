"""`ranker log`: replays and exports what was served. Owns the options, what is printed and the exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranker.cli import place
from ranker.cli.display.output import JSON, CleanGroup, console, examples, print_table
from ranker.cli.feature_options import refuse_input_as_output

if TYPE_CHECKING:
    from ranker.scoring.loaded import LoadedModel
    from ranker.settings.destination import Destination
    from ranker.upkeep.replay import Replayed


@click.group(
    cls=CleanGroup,
    short_help="Replay or export what was served, as RANKER_FEATURE_LOG kept it.",
    epilog=examples(
        "ranker log replay /var/log/ranker",
        "ranker log export /var/log/ranker --out served.parquet",
    ),
)
def log() -> None:
    """Rank again, or export, what was served, as RANKER_FEATURE_LOG kept it."""


@log.command(
    epilog=examples(
        "ranker log replay /var/log/ranker",
        "ranker log replay stream:served --model shoes:2",
        "ranker log replay /var/log/ranker --max-ulps 4 --json",
    ),
)
@click.argument("source")
@click.option("--model", metavar="TAG", show_default="the one that served", help="Rank with this model.")
@click.option(
    "--max-ulps",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="How far a score may be off, in units in the last place of float32; other CPUs may differ by a few.",
)
@JSON
def replay(source: str, model: str | None, max_ulps: int, as_json: bool) -> None:
    """Rank what is logged in SOURCE again, and compare scores and rankings with what was served, bit for bit.

    SOURCE is a file, a folder, stream:KEY (of the Redis at RANKER_REDIS_URL) or a Redis URL with ?stream=KEY. The exit
    code is 1 when a score is farther off than --max-ulps, when a ranking differs, and when there is nothing to replay.
    """
    from ranker.scoring.registry import find_model, load_model
    from ranker.training.log import read_records
    from ranker.upkeep.replay import replay as replay_records

    @cache
    def model_for(tag: str) -> LoadedModel:
        return load_model(find_model(tag))

    place_of_log = _parse(source)
    records = read_records(source, lambda: place.settings().redis_url)
    found = replay_records(records, lambda tag: model_for(model or tag), max_ulps)
    if as_json:
        click.echo(json.dumps({tag: replayed.as_json() for tag, replayed in found.items()}))
    else:
        _print(found, max_ulps)
    for sentence in _unfinished(place_of_log):
        click.echo(sentence, err=as_json)
    if not found or any(replayed.failed for replayed in found.values()):
        sys.exit(1)


@log.command(
    epilog=examples(
        "ranker log export /var/log/ranker --out served.parquet",
    ),
)
@click.argument("source")
@click.option("--out", required=True, metavar="FILE", type=click.Path(path_type=Path), help="A .parquet or .csv file.")
@click.option("--model", metavar="TAG", help="Only what this model ranked; models with other columns need that.")
@click.option(
    "--schema", metavar="NAME", help="Tag or schema.yaml that names the features.", show_default="the model that ranked"
)
@JSON
def export(source: str, out: Path, model: str | None, schema: str | None, as_json: bool) -> None:
    """Write what is logged in SOURCE as a flat table: a row for each product that was ranked, a column per feature.

    SOURCE is what `ranker log replay` takes. Join your clicks by request_id and product_id, and it is a training set.
    Needs bento-ranker[files].
    """
    from ranker.training.export import write_table
    from ranker.training.log import flatten, read_records, schemas

    place_of_log = _parse(source)
    refuse_input_as_output("--out", out, (Path(source),))
    records = read_records(source, lambda: place.settings().redis_url)
    rows = write_table(flatten(records, schemas(schema), model), out)
    if as_json:
        click.echo(json.dumps({"rows": rows, "file": str(out)}))
    elif rows:
        console().print(f"{rows:,} rows in {out}.", markup=False)
    else:
        console().print("Nothing to export: no request is logged there.")
    for sentence in _unfinished(place_of_log):
        click.echo(sentence, err=as_json)
    if not rows:
        sys.exit(1)


def _parse(source: str) -> Destination:
    from ranker.settings import destination

    if not source:  # which would be the working folder
        raise click.BadParameter("it is empty.", param_hint="SOURCE")
    try:
        return destination.parse(source, "")
    except ValueError as err:
        raise click.BadParameter(f"{err}.", param_hint="SOURCE") from None


def _unfinished(source: Destination) -> list[str]:
    """Say what of a folder's records cannot be read yet."""
    from ranker.settings.destination import Folder
    from ranker.telemetry.feature_log.unfinished import describe_unfinished, find_unfinished

    if not isinstance(source, Folder):
        return []
    return describe_unfinished(find_unfinished(source.path), datetime.now(UTC))


def _difference(replayed: Replayed) -> str:
    if not replayed.largest_ulps:
        return "none"
    return f"{replayed.largest_difference:.3g} ({replayed.largest_ulps:,} ulp)"


def _print(found: Mapping[str, Replayed], max_ulps: int) -> None:
    if not found:
        console().print("Nothing to replay: no request is logged there.")
        return
    print_table(
        ("model", "scores", "requests", "without scores", "rows", "equal bits", "largest difference", "equal rankings"),
        (
            (
                tag,
                replayed.served,
                f"{replayed.requests:,}",
                f"{replayed.unscored:,}",
                f"{replayed.rows:,}",
                f"{replayed.equal_rows:,}",
                _difference(replayed),
                f"{replayed.equal_rankings:,}",
            )
            for tag, replayed in found.items()
        ),
    )
    failed = sum(replayed.failed for replayed in found.values())
    requests = sum(replayed.requests for replayed in found.values())
    if failed:
        console().print(f"{failed:,} of {requests:,} requests do not replay; the first:", markup=False)
        for replayed in found.values():
            for example in replayed.examples:
                console().print(f"  {example}", markup=False)
    elif any(replayed.equal_rows < replayed.rows for replayed in found.values()):
        console().print(f"All {requests:,} requests replay within {max_ulps:,} ulp.", markup=False)
    else:
        console().print(f"All {requests:,} requests replay bit for bit.", markup=False)
