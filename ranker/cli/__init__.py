"""The `ranker` command: one file per command group."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import click

from ranker import __version__
from ranker.cli.display.output import CleanGroup

COMMANDS = {
    "bench": "ranker.cli.bench",
    "demo": "ranker.cli.demo",
    "doctor": "ranker.cli.doctor",
    "features": "ranker.cli.features",
    "log": "ranker.cli.log",
    "model": "ranker.cli.model",
    "rank": "ranker.cli.rank",
    "serve": "ranker.cli.serve",
}
"""Command → the module that has it under the same name."""


class LazyGroup(CleanGroup):
    """Imports a command's module when the command is used, so that `ranker --help` answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(command for command in COMMANDS if _is_here(command))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if not _is_here(cmd_name):
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
        return command


def _is_here(command: str) -> bool:
    """Return whether this installation has a command; a Bento has no `demo`."""
    return command in COMMANDS and find_spec(COMMANDS[command]) is not None


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ranker")
def main() -> None:
    """Rank a user's products with features from Redis and an ONNX model."""
