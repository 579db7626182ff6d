"""Token option: a bearer token from the environment, for commands that ask a served ranker.

On the command line it would be in the shell's history and in everybody's list of processes.
"""

from __future__ import annotations

import os

import click

TOKEN = click.option(
    "--token-env", metavar="NAME", help="Environment variable whose value is sent as a bearer token."
)  # fmt: skip


def token_in(variable: str | None) -> str | None:
    """Return the value of the variable that `--token-env` names; None where it names none.

    Raises:
        click.UsageError: it is not set.
    """
    if variable is None:
        return None
    if not (token := os.environ.get(variable)):
        raise click.UsageError(f"The environment variable {variable} is not set.")
    return token
