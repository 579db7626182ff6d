"""`ranker init`: a schema.yaml to begin with, from the files that hold the features.

Owns what is asked and printed; which columns are features, `ranker.ingest.columns` says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ranker.cli.display.output import JSON, examples
from ranker.cli.feature_options import FILE, refuse_input_as_output

OUTPUT = Path("schema.yaml")


@click.command(
    short_help="Write a schema.yaml to begin with, from two files.",
    epilog=examples(
        "ranker init --users users.csv --products products.csv",
        "ranker init --users users.parquet --products items.parquet --id-column sku -o shop.yaml",
    ),
)
@click.option("--users", type=FILE, required=True, metavar="FILE", help="CSV, TSV or Parquet: a row for each user.")
@click.option("--products", type=FILE, required=True, metavar="FILE", help="The same for products.")
@click.option("--id-column", default="id", show_default=True, metavar="NAME", help="The column with the ids.")
@click.option("-o", "--output", type=FILE, default=OUTPUT, show_default=True, metavar="FILE", help="What to write.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@JSON
def init(users: Path, products: Path, id_column: str, output: Path, force: bool, as_json: bool) -> None:
    """Write a schema.yaml with the columns of two files as features, in their order.

    The schema says which column of the model's matrix is what, so its order must be that of the training matrix: look
    at it before you import a model. Columns that hold no numbers are comments in it, for only you know whether they are
    categories or texts. `ranker model suggest` writes one from a graph instead.
    """
    from ranker.ingest.columns import feature_columns
    from ranker.vectors.schema import FeatureSchema

    if output.exists() and not force:
        raise click.UsageError(f"{output} is there already; --force writes over it, --output names another.")
    refuse_input_as_output("--output", output, (users, products))
    found = {"user": feature_columns(users, id_column), "product": feature_columns(products, id_column)}
    data: dict[str, Any] = {
        entity: {"key": f"{entity}:{{id}}", "features": columns.numbers} for entity, columns in found.items()
    }
    schema = FeatureSchema.from_mapping(data)
    left_out = {entity: columns.others for entity, columns in found.items() if columns.others}
    output.write_text(_yaml(users, products, data, left_out), encoding="utf-8")
    if as_json:
        click.echo(json.dumps({"path": str(output), "schema": data, "left_out": left_out}))
        return
    click.echo(f"Wrote {output}: {schema.user.width} user and {schema.product.width} product features.")
    for entity, names in left_out.items():
        click.echo(f"Left out, for they hold no numbers, of the {entity}s: {', '.join(names)}.")
    if left_out:
        click.echo("Where the model takes them, say what they are: comments in the file show how.")
    click.echo("The order is that of the files. Make it that of the training matrix; then:")
    click.echo(f"  ranker model import model.onnx --schema {output} --name NAME")


def _yaml(users: Path, products: Path, data: dict[str, Any], left_out: dict[str, list[str]]) -> str:
    """Return the schema as one would write it; JSON's strings are YAML's, where a name needs quotes."""
    lines = [f"# From {users.name} and {products.name}. The order of the features must be that of the training matrix."]
    for entity, group in data.items():
        lines += [f"{entity}:", f'  key: "{group["key"]}"', "  features:"]
        lines += [f"    - {json.dumps(name, ensure_ascii=False)}" for name in group["features"]]
        for name in left_out.get(entity, ()):
            quoted = json.dumps(name, ensure_ascii=False)
            lines.append(
                f"    # - {{name: {quoted}, type: category, vocabulary: [a, b]}}  # the texts, in the order of codes"
            )
    return "\n".join(lines) + "\n"
