"""`ranker model suggest`: writes a schema from a graph. Owns where it goes; `importing.suggesting` has what it says."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ranker.cli.display.output import JSON, examples


@click.command(
    epilog=examples(
        "ranker model suggest model.onnx",
        "ranker model suggest model.onnx --output schema.yaml",
    )
)
@click.argument("onnx_file", metavar="MODEL.onnx", type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", show_default="the terminal", help="A new file."
)
@JSON
def suggest(onnx_file: Path, output: Path | None, as_json: bool) -> None:
    """Write a schema for MODEL.onnx: names, types, shapes, vocabularies of its encoders and sizes of its tables.

    What only its owner knows is a comment with a question mark: which features are the user's, which output ranks.
    """
    from ranker.importing.suggesting.suggestion import count_questions
    from ranker.importing.suggesting.suggestion import suggest as write
    from ranker.importing.weights import read_files

    files = read_files(onnx_file)
    text = write(files.content, onnx_file.name, files.folder)
    if output is None and not as_json:
        click.echo(text, nl=False)
        return
    if output is not None:
        _write(output, text)
    if as_json:
        click.echo(json.dumps({"schema": text, "questions": count_questions(text), "file": output and str(output)}))
    else:
        click.echo(f"{output} has {count_questions(text)} questions to answer.")


def _write(output: Path, text: str) -> None:
    try:
        with output.open("x") as file:
            file.write(text)
    except OSError as err:
        raise click.ClickException(f"{output} cannot be written: {err.strerror}. Choose another --output.") from err
