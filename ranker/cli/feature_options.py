"""Feature options: those of files, schemas and stored features that several commands take."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from ranker.cli import place
from ranker.cli.completion import complete_tag

F = TypeVar("F", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)
_EXISTING = click.Path(path_type=Path, exists=True, dir_okay=False)
MODEL = click.option(
    "--model", metavar="NAME", help="Tag of the model, or a schema.yaml.", show_default=place.setting("model"),
    shell_complete=complete_tag,
)  # fmt: skip
SENTINEL = click.option(
    "--sentinel-service", metavar="NAME", help="Which primary, where RANKER_REDIS_URL is a Sentinel."
)
MAX_RATE = click.option(
    "--max-rate", type=click.FloatRange(min=1), metavar="N", show_default="no limit", help="Keys per second, at most."
)
ROUNDING = click.option(
    "--allow-rounding", is_flag=True, help="Take whole numbers beyond 2^24 as float32 has them; else they are refused."
)


def entity_option(required: bool) -> Callable[[F], F]:
    """Declare --entity and --group; the command takes what is given as `entity`."""

    def declare(command: F) -> F:
        @click.option("--entity", type=click.Choice(["user", "product"]), help="Whose features.")
        @click.option("--group", metavar="NAME", help="A group of the schema's `groups:`, in place of --entity.")
        @wraps(command)
        def with_entity(*args: Any, entity: str | None, group: str | None, **options: Any) -> Any:
            if entity is not None and group is not None:
                raise click.UsageError("Give either --entity or --group.")
            if required and entity is None and group is None:
                raise click.UsageError("Give --entity user, --entity product, or --group with the name of a group.")
            return command(*args, entity=entity or group, **options)

        return with_entity  # type: ignore[return-value]  # it takes other options than what it wraps

    return declare


def files_by_name(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, Path]:
    """Return the file of each group, of an option that is given as NAME=FILE for each.

    Raises:
        click.BadParameter: one is no such pair, or there is no such file.
    """
    files: dict[str, Path] = {}
    for text in given:
        name, _, path = text.partition("=")
        if not path or name in files:
            raise click.BadParameter(f"{text!r} is no group with its file, each once, such as seller=sellers.parquet.")
        files[name] = _EXISTING.convert(path, option, context)
    return files


def refuse_input_as_output(option: str, output: Path | None, inputs: Iterable[Path | None]) -> None:
    """Make sure that a command overwrites none of the files that it reads, whatever they are called.

    Raises:
        click.UsageError: it would.
    """
    if output is not None and output.exists():
        for path in inputs:
            if path is not None and path.exists() and output.samefile(path):
                raise click.UsageError(f"{option} {output} is one of the files to be read. Give it another file.")


def dialect_options(command: F) -> F:
    """Declare how text files are written; the command takes it as `dialect`."""

    @click.option(
        "--delimiter", metavar="CHAR", callback=_one_character, show_default="comma; tab in .tsv",
        help="What separates the fields of a CSV file; 'tab' for a tab.",
    )  # fmt: skip
    @click.option(
        "--decimal", type=click.Choice([".", ","]), default=".", show_default=True,
        help="What stands before a fraction in a CSV file.",
    )  # fmt: skip
    @click.option(
        "--encoding", metavar="NAME", default="utf-8", show_default=True, callback=_known_encoding,
        help="Encoding of CSV and JSON Lines files, such as cp1252 or utf-16.",
    )  # fmt: skip
    @wraps(command)
    def with_dialect(*args: Any, delimiter: str | None, decimal: Any, encoding: str, **options: Any) -> Any:
        from ranker.ingest.files.dialect import Dialect

        return command(*args, dialect=Dialect(delimiter, decimal, encoding), **options)

    return with_dialect  # type: ignore[return-value]  # it takes other options than what it wraps


def _one_character(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    character = "\t" if value in ("tab", "\\t") else value
    if character is not None and (len(character) != 1 or not character.isascii() or character in '"\r\n'):
        raise click.BadParameter("It is one ASCII character, and neither a quotation mark nor the end of a line.")
    return character


def _known_encoding(_: click.Context, __: click.Parameter, value: str) -> str:
    try:
        "".encode(value)
        codecs.getincrementaldecoder(value)
    except (LookupError, UnicodeError):
        raise click.BadParameter(f"Python knows no encoding of text called {value}.") from None
    return value
