"""Console output: one console for answers, one clean line on stderr for errors."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from ranker.errors import RankerError

if TYPE_CHECKING:
    from rich.console import Console


class CleanGroup(click.Group):
    """A command group that ends a RankerError with its message on stderr and exit code 1, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except RankerError as err:
            raise click.ClickException(str(err)) from err


@cache
def console() -> Console:
    """Return the console on stdout. Lines are never wrapped or cut: what is piped or copied stays whole."""
    # Imported late: rich takes longer to load than `ranker --help` should take to answer.
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 10_000)


def print_pairs(pairs: Mapping[str, str]) -> None:
    """Print labels and values in two columns."""
    from rich.text import Text

    width = max(map(len, pairs)) + 2
    for label, value in pairs.items():
        console().print(Text(label.ljust(width), style="bold") + Text(value))


def print_table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Print a table, whatever its cells hold, as it is."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row))
    console().print(table)
