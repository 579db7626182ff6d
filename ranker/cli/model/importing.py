"""`ranker model import`: checks a graph, builds what it lacks, compares it with its trainer's scores, and stores it.

Owns the options and what is printed. Imports bentoml and ONNX Runtime inside the command.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranker.cli import place
from ranker.cli.display.graph import graph_json, graph_pairs, row_text
from ranker.cli.display.output import JSON, examples, print_pairs
from ranker.cli.display.split import split_json, split_pairs
from ranker.cli.feature_options import ROUNDING

if TYPE_CHECKING:
    from ranker.scoring.loaded import LoadedModel
    from ranker.training.candidate import Candidate
    from ranker.training.scored_rows import Rows
    from ranker.vectors.schema import FeatureSchema


@click.command(
    "import",
    epilog=examples(
        "ranker model import model.onnx --schema schema.yaml --name shoes",
        "ranker model import model.onnx --schema schema.yaml --name shoes --version 2",
        "ranker model import model.onnx --schema schema.yaml --name shoes --check rows.parquet --score-column y",
    ),
)
@click.argument("onnx_file", metavar="MODEL.onnx", type=click.Path(path_type=Path))
@click.option(
    "--schema", "schema_file", required=True, metavar="SCHEMA.yaml", type=click.Path(path_type=Path),
    help="The features in the order of the graph's columns, with defaults and keys.",
)  # fmt: skip
@click.option("--name", required=True, help="Name in the model store.")
@click.option("--version", show_default="made from the content", help="Version in the model store.")
@click.option(
    "--time-limit",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long each of the two trials of the graph may take.",
)
@click.option(
    "--check", "check_file", metavar="ROWS", type=click.Path(path_type=Path),
    help="Rows with the trainer's own scores: Parquet, CSV or JSON Lines, with a column for each feature.",
)  # fmt: skip
@click.option("--score-column", metavar="NAME", help="Column of ROWS with the trainer's scores.")
@click.option("--list-column", metavar="NAME", help="Column of ROWS that is equal for the products of a list.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=1e-4,
    show_default=True,
    help="How much a score may differ, absolutely and relatively.",
)
@click.option(
    "--check-keys",
    type=click.IntRange(1, 20_000),
    metavar="N",
    help="Score N products of Redis (RANKER_REDIS_URL).",
)
@click.option(
    "--split/--no-split", default=True, show_default=True,
    help="Serve the graph in parts, where that gains and scores the same.",
)  # fmt: skip
@ROUNDING
@JSON
def import_(
    onnx_file: Path,
    schema_file: Path,
    name: str,
    version: str | None,
    time_limit: float,
    check_file: Path | None,
    score_column: str | None,
    list_column: str | None,
    tolerance: float,
    check_keys: int | None,
    split: bool,
    allow_rounding: bool,
    as_json: bool,
) -> None:
    """Check that MODEL.onnx fits the schema, run it once, and store both under one tag.

    The schema names the columns in order:

    \b
        user:
          features: [age, {name: income, default: 30000}]
        product:
          key: "product:{id}"
          features: [price, margin]

    The groups context and productContext, for what requests bring, may follow, and where the graph leaves a choice
    `inputs:` and `output:`; docs/reference/schema.md has them.
    """  # noqa: D301 - click reads the backspace as "do not rewrap"
    from ranker.vectors.schema_file import read_schema

    schema = read_schema(schema_file)
    from ranker.importing.weights import read_files
    from ranker.scoring.graph import proof
    from ranker.scoring.registry import find_model, load_model
    from ranker.training.candidate import Candidate

    if (check_file is None) != (score_column is None):
        raise click.UsageError("--check and --score-column go together: the rows, and which column is their score.")
    candidate = Candidate(read_files(onnx_file), schema, limit_s=time_limit)
    compared = "nothing: --check ROWS --score-column NAME compares with the trainer's own scores"
    if check_file is not None and score_column is not None:
        rows = _rows(schema, check_file, score_column, list_column, allow_rounding)
        compared = str(candidate.compare(rows, "of --check", tolerance))
    stored_keys = None if check_keys is None else _try_stored(candidate, check_keys)
    tag, created = candidate.store(name, version, split=split)
    loaded = load_model(find_model(tag))
    doubts = list(proof.doubts(loaded.score, schema))
    if as_json:
        checks = {"compared": compared, "storedKeys": stored_keys, "warnings": doubts}
        described = graph_json(loaded.whole) | split_json(loaded)
        click.echo(json.dumps({"tag": tag, "imported": created, **checks, **described}))
        return
    print_pairs(
        {
            "Imported" if created else "Already imported": tag,
            **graph_pairs(loaded.whole),
            "Row": row_text(loaded.whole),
            **_order_pairs(loaded),
            "Compared": compared,
            **split_pairs(loaded),
            **({} if stored_keys is None else {"Stored keys": stored_keys}),
            "Serve it": f"ranker serve --model {tag}",
        }
    )
    for doubt in doubts:
        click.echo(f"Warning: {doubt}", err=True)


def _rows(schema: FeatureSchema, path: Path, score_column: str, list_column: str | None, allow_rounding: bool) -> Rows:
    from ranker.training.file_frame import read_frame
    from ranker.training.scored_rows import take_rows

    return take_rows(schema, read_frame(path), score_column, list_column, allow_rounding=allow_rounding)


def _try_stored(candidate: Candidate, n: int) -> str:
    """Have the graph score n products of Redis; return what came of it, in words."""
    from ranker.upkeep.stored_trial import try_stored

    with place.connected() as client:
        trial = try_stored(client, candidate.open(), n)
    if trial is None:
        return "none: there are no users or products under the model's keys"
    candidate.prove_on(trial.matrix, "of stored products")
    return str(trial)


def _order_pairs(loaded: LoadedModel) -> dict[str, str]:
    """Say whether the order of a list matters, where lists are scored together."""
    from ranker.scoring.graph import proof

    if loaded.schema.rows != "together":
        return {}
    matters = proof.depends_on_order(loaded.score, loaded.schema)
    return {"Order of a list": "changes its scores" if matters else "does not change its scores"}
