"""The `ranker` command: one file per command group."""

from __future__ import annotations

from importlib import import_module

import click

from ranker import __version__
from ranker.cli.output import CleanGroup

COMMANDS = {
    "bench": "ranker.cli.bench",
    "demo": "ranker.cli.demo",
    "doctor": "ranker.cli.doctor",
    "features": "ranker.cli.features",
    "model": "ranker.cli.model",
}
"""Command → the module that has it under the same name."""


class LazyGroup(CleanGroup):
    """Imports a command's module when the command is used, so that `ranker --help` answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ranker")
def main() -> None:
    """Rank a user's products with features from Redis and an ONNX model."""
