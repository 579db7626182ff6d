"""`ranker rank`: answers files of requests offline. Owns the options, where answers go and the exit code."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from ranker.cli import place
from ranker.cli.display.output import examples, in_one_line
from ranker.cli.feature_options import SENTINEL, files_by_name, refuse_input_as_output
from ranker.errors import RankerError

if TYPE_CHECKING:
    from ranker.training.model import Model
    from ranker.training.requests import Outcome, RowsOf

Answer = Callable[[bytes], tuple[bytes, "Outcome"]]
"""A request's body → an answer or a refusal, and which of them it is."""
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command(
    short_help="Answer files of requests offline.",
    epilog=examples(
        "ranker rank tonight.jsonl --model shoes:2 --out rankings.jsonl",
        "ranker rank tonight.jsonl --model shoes:2 --users users.parquet --products products.parquet",
        "ranker rank tonight.jsonl --products products.parquet --group seller=sellers.csv",
    ),
)
@click.argument("requests", nargs=-1, required=True, type=FILE)
@click.option("--model", metavar="TAG", help="The model that ranks.", show_default=place.setting("model"))
@click.option("--users", metavar="FILE", type=FILE, help="Features of users, in place of those in Redis.")
@click.option("--products", metavar="FILE", type=FILE, help="Features of products, in place of those in Redis.")
@click.option(
    "--group", "groups", metavar="NAME=FILE", multiple=True, callback=files_by_name,
    help="Features of one of the schema's `groups:`; again for each of them.",
)  # fmt: skip
@click.option("--id-column", default="id", show_default=True, help="Id column of these files.")
@click.option(
    "--out", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), show_default="standard output",
    help="Where answers go.",
)  # fmt: skip
@SENTINEL
def rank(
    requests: tuple[Path, ...],
    model: str | None,
    users: Path | None,
    products: Path | None,
    groups: dict[str, Path],
    id_column: str,
    out: Path | None,
    sentinel_service: str | None,
) -> None:
    """Answer the requests in REQUESTS, files of JSON Lines: a body of /predict in each line, its answer in each line.

    Ranks with the service's code, without the service: features from Redis at RANKER_REDIS_URL, or all from files as
    `ranker features load` takes them. A request that is refused gets a line with its error, and the exit code is 1.
    """
    refuse_input_as_output("--out", out, (*requests, users, products, *groups.values()))
    from ranker.http.statuses import find_error_type
    from ranker.serving.body_limit import with_body_limit
    from ranker.training.model import Model
    from ranker.training.requests import BatchRanker

    try:
        loaded = Model.load(model or place.served_model())
        settings = with_body_limit(place.settings(), [loaded.schema])
        with ExitStack() as stack:
            rows_of = _rows(stack, loaded, users, products, groups, id_column, sentinel_service)
            ranker = BatchRanker(
                loaded,
                rows_of,
                max_products=settings.max_products,
                max_body_bytes=settings.max_body_bytes,
                missing_product=settings.missing_product,
                find_error_type=find_error_type,
            )
            target = sys.stdout.buffer if out is None else stack.enter_context(out.open("wb"))
            counts = _answer(ranker.answer, requests, settings.max_body_bytes, target)
    except RankerError as err:
        raise in_one_line(err) from err
    refused, degraded = counts["refused"], counts["degraded"]
    answered = counts["answered"] + degraded
    without = f" ({degraded:,} without any features)" if degraded else ""
    click.echo(f"{answered:,} request{'s' * (answered != 1)} answered{without}, {refused:,} refused.", err=True)
    if refused or not answered:
        sys.exit(1)


def _rows(
    stack: ExitStack,
    model: Model,
    users: Path | None,
    products: Path | None,
    groups: dict[str, Path],
    id_column: str,
    sentinel_service: str | None,
) -> RowsOf:
    """Return where rows come from: files, where one is named, else Redis."""
    if users is not None or products is not None or groups:
        from ranker.training.requests import FileRows

        return FileRows(model.schema, users, products, id_column, groups)
    from ranker.training.reader import FeatureReader

    url = place.settings().redis_url
    return stack.enter_context(FeatureReader(url, model.schema, sentinel_service=sentinel_service)).rows


def _answer(answer: Answer, files: tuple[Path, ...], max_body_bytes: int, out: BinaryIO) -> Counter[Outcome]:
    """Write an answer for each line that is not blank; return how many there were of each outcome."""
    counts: Counter[Outcome] = Counter()
    for path in files:
        with path.open("rb") as file:
            for body in _bodies(file, max_body_bytes):
                text, outcome = answer(body)
                out.write(text + b"\n")
                counts[outcome] += 1
    out.flush()
    return counts


def _bodies(file: BinaryIO, max_body_bytes: int) -> Iterator[bytes]:
    """Yield the lines that are not blank; of one that is too long, enough to see that it is, for it may have no end."""
    while line := file.readline(max_body_bytes + 2):
        rest = line
        while not rest.endswith(b"\n") and (rest := file.readline(max_body_bytes)):
            pass
        if line.strip():
            yield line.removesuffix(b"\n")
