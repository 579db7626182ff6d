"""The `ranker` command: one module per command, one package for each group of several modules."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import click

from ranker import __version__
from ranker.cli.display.output import CleanGroup, be_quiet, examples

COMMANDS = {
    "bench": "ranker.cli.bench",
    "config": "ranker.cli.config",
    "demo": "ranker.cli.demo",
    "doctor": "ranker.cli.doctor",
    "features": "ranker.cli.features.group",
    "init": "ranker.cli.init",
    "log": "ranker.cli.log",
    "model": "ranker.cli.model.group",
    "rank": "ranker.cli.rank",
    "serve": "ranker.cli.serve",
}
"""Command → the module that has it under the same name."""


class LazyGroup(CleanGroup):
    """Imports a command's module when the command is used, so that `ranker --help` answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(command for command in COMMANDS if _is_here(command))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name those that look like it."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as err:
            raise click.NoSuchCommand(err.command_name, possibilities=self.list_commands(ctx), ctx=ctx) from None

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if not _is_here(cmd_name):
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
        return command


def _is_here(command: str) -> bool:
    """Return whether this installation has a command; a Bento has no `demo`."""
    return command in COMMANDS and find_spec(COMMANDS[command]) is not None


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        *(["ranker demo && ranker serve"] if _is_here("demo") else []),
        "ranker init --users users.csv --products products.csv",
        "ranker model import model.onnx --schema schema.yaml --name shoes",
        "ranker features load users.csv --entity user --model shoes",
        "ranker features load products.csv --entity product --model shoes",
        "ranker doctor",
        "ranker serve --model shoes",
    ),
)
@click.version_option(__version__, "-V", "--version", prog_name="ranker")
@click.option("-q", "--quiet", is_flag=True, help="Print results and errors only: no steps, no progress.")
def main(quiet: bool) -> None:
    """Rank a user's products with features from Redis and an ONNX model."""
    if quiet:
        be_quiet()
