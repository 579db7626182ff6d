"""Console output: one console for answers, one clean line on stderr for errors and for Ctrl-C.

Owns what holds for all commands: the option --json, quiet or not, and the exit code of an interrupted one.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from ranker.errors import RankerError, StoreUnavailable

if TYPE_CHECKING:
    from rich.console import Console


INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT."""
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NEXT, _QUIET = "ranker.next", "ranker.quiet"


class CleanGroup(click.Group):
    """A command group whose errors are one message on stderr, without a traceback: exit code 1, or 130 after Ctrl-C."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, each with the whole first sentence of its help: click's own list cuts it."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, found.get_short_help_str(sys.maxsize)) for name, found in commands.items() if found]
            )

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Read the command line, of which --help and --version print at once."""
        with _clean_errors():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command."""
        try:
            with _clean_errors():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(f"\nInterrupted. {ctx.meta.get(_NEXT, '')}".rstrip(), err=True)
            ctx.exit(INTERRUPTED)


@contextmanager
def _clean_errors() -> Iterator[None]:
    """Turn errors into what click prints as one message.

    Raises:
        click.ClickException: in place of our own errors, and of those of files.
    """
    try:
        yield
    except RankerError as err:
        raise in_one_line(err) from err
    except OSError as err:
        if err.filename is None and err.errno not in _NO_ROOM:
            raise  # of a closed pipe click makes nothing; others are defects
        raise _of_files(err) from err


def in_one_line(err: RankerError) -> click.ClickException:
    """Return the error as a command ends with it: its sentence, and what to do where only a terminal can say that."""
    return click.ClickException(f"{err} {_remedy(err)}".rstrip())


def _of_files(err: OSError) -> click.ClickException:
    """Return the error of a file or folder that cannot be used: read-only, full, absent, another's."""
    reason = err.strerror or str(err)
    if err.errno in _NO_ROOM:
        where = "" if err.filename is None else f" at {err.filename}"
        return click.ClickException(f"Nothing more can be written{where}: {reason}. Make room there, and run it again.")
    return click.ClickException(
        f"{err.filename} cannot be used: {reason}. Mend its folder or its rights, or name another."
    )


def _remedy(err: RankerError) -> str:
    """Return what to do about a Redis that cannot be used: here, not in a program, which passes a URL of its own."""
    if not isinstance(err, StoreUnavailable):
        return ""
    # Imported late: redis takes longer to load than `ranker --help` should take to answer.
    from ranker.redis.remedies import find_remedy

    return find_remedy(err.__cause__)


def examples(*lines: str) -> str:
    """Return the end of a command's help; click reads the backspace as "do not rewrap"."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def say_when_interrupted(sentence: str) -> None:
    """Say from now on, where Ctrl-C ends this command, what becomes of its work."""
    click.get_current_context().meta[_NEXT] = sentence


def be_quiet() -> None:
    """Show results and errors only: no steps, no progress."""
    click.get_current_context().meta[_QUIET] = True


def is_quiet() -> bool:
    """Return whether steps and progress are left out."""
    context = click.get_current_context(silent=True)
    return context is not None and context.meta.get(_QUIET, False)


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
        console().print(Text.assemble((label.ljust(width), "bold"), value))


def print_table(columns: Iterable[str], rows: Iterable[Iterable[Any]], *, right: Collection[str] = ()) -> None:
    """Print a table, whatever its cells hold, as it is: each row is one line, however narrow the terminal.

    Args:
        columns: Their headings.
        rows: A value for each column.
        right: Headings of those that are justified to the right, as numbers are.
    """
    from rich.cells import cell_len
    from rich.text import Text

    headings = list(columns)
    lines = [headings, *([str(value) for value in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        cells = []
        for heading, cell, width in zip(headings, line, widths, strict=True):
            padding = " " * (width - cell_len(cell))
            cells.append(padding + cell if heading in right else cell + padding)
        console().print(Text("  ".join(cells).rstrip(), style="bold" if number == 0 else ""))
