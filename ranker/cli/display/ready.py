"""Ready line: where a service answers, a request to paste, and its pages. Knows nothing of how it was started."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from ranker.cli.display.output import console


def print_ready(url: str, body: str, *, secured: bool = False) -> None:
    """Print what one needs next.

    Args:
        url: Where the service answers.
        body: What curl's `-d` takes, quoted for a shell.
        secured: Whether it wants a token.
    """
    token = " -H 'authorization: Bearer TOKEN'" if secured else ""
    lines = [
        "",
        f"Ready at {url}; Ctrl-C ends it.",
        f"Rank:        {curl(url, body, token)}",
        f"Playground:  {url}/play",
        f"API:         {url}/ (OpenAPI: {url}/docs.json)",
    ]
    console().print("\n".join(lines), markup=False)


def body_in(file: Path) -> str:
    """Return a file as curl's `-d` takes it."""
    return f"@{shlex.quote(os.path.relpath(file))}"


def curl(url: str, body: str, more: str = "") -> str:
    """Return the command that asks for a ranking."""
    return f"curl -s {url}/predict{more} -H 'content-type: application/json' -d {body}"
