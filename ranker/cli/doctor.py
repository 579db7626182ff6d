"""`ranker doctor`: would the service start and serve well here.

Owns the options, what is printed and the exit code; the checks are in `ranker.doctor`, imported late.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranker.cli.output import console

if TYPE_CHECKING:
    from ranker.doctor.finding import Finding

PROJECT = Path(__file__).resolve().parents[2]
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def doctor(as_json: bool) -> None:
    """Check settings, model, Redis and stored features.

    The exit code is 1 when a line says fail: the service would not start, or would answer wrongly. It is 0 when lines
    say ok or warn, which is served, but less well than could be.

    Nothing is written to Redis, and what is asked of it is bounded.
    """
    from ranker.doctor.examination import Examination

    # What the parts log of trouble is in the findings.
    logging.getLogger("ranker").addHandler(logging.NullHandler())
    examination = Examination(os.environ, PROJECT)
    findings: list[Finding] = []

    for finding in examination.findings():
        findings.append(finding)
        if not as_json:
            _print(finding)
    failed = any(finding.status == "fail" for finding in findings)
    if as_json:
        click.echo(json.dumps({"ok": not failed, "findings": [asdict(finding) for finding in findings]}))
    sys.exit(int(failed))


def _print(finding: Finding) -> None:
    from rich.text import Text

    line = Text(finding.status.ljust(6), style=COLOURS[finding.status])
    line.append(finding.check.ljust(18), style="bold").append(finding.seen)
    if finding.remedy:
        line.append(f"\n{'':24}{finding.remedy}", style="italic")
    console().print(line)
