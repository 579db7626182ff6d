"""`ranker doctor`: checks that the service would start and serve well here, and how many machines a rate needs.

Owns the options, what is printed and the exit code; the checks are in `ranker.doctor`, the measurements in
`ranker.doctor.capacity`, both imported late.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ranker.cli import place
from ranker.cli.display.output import JSON, console, examples
from ranker.cli.display.report import COLOURS

if TYPE_CHECKING:
    from ranker.doctor.capacity.figures import Misses
    from ranker.doctor.capacity.survey import Survey
    from ranker.doctor.examination import Examination
    from ranker.upkeep.finding import Finding

RATES = (1_000.0, 10_000.0, 100_000.0)


@click.command(
    epilog=examples(
        "ranker doctor",
        "RANKER_REDIS_URL=rediss://… RANKER_MODEL=shoes:2 ranker doctor --json",
        "ranker doctor --capacity --rate 2000 --products 100",
    ),
)
@JSON
@click.option("--capacity", is_flag=True, help="Then measure what a request costs, and print what rates need.")
@click.option(
    "--rate", "rates", type=click.FloatRange(min=0, min_open=True), multiple=True, default=RATES, show_default=True,
    help="Requests per second to plan for; may be repeated.",
)  # fmt: skip
@click.option("--products", type=click.IntRange(1, 1000), default=100, show_default=True, help="Products of a request.")
@click.option(
    "--utilisation", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.6, show_default=True,
    help="How busy a core should be.",
)  # fmt: skip
@click.option(
    "--hit-rates", type=(click.FloatRange(0, 1), click.FloatRange(0, 1)), metavar="USERS PRODUCTS",
    show_default="from the times to live", help="Shares, 0 to 1, that a warm cache has.",
)  # fmt: skip
def doctor(
    as_json: bool,
    capacity: bool,
    rates: tuple[float, ...],
    products: int,
    utilisation: float,
    hit_rates: tuple[float, float] | None,
) -> None:
    """Check settings, model, Redis and stored features.

    The exit code is 1 when a line says fail: the service would not start, or would answer wrongly. It is 0 when lines
    say ok or warn, which is served, but less well than could be.

    Nothing is written to Redis, and what is asked of it is bounded. --capacity keeps one core and Redis busy for some
    seconds: better not beside live traffic.
    """
    from ranker.doctor.examination import Examination

    # What the parts log of trouble is in the findings.
    logging.getLogger("ranker").addHandler(logging.NullHandler())
    examination = Examination(os.environ, place.PROJECT)
    findings: list[Finding] = []

    def show(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            _print(finding)

    for finding in examination.findings():
        show(finding)
    surveyed = _survey(examination, findings, products, show) if capacity else None
    stated = _misses(hit_rates)
    failed = any(finding.status == "fail" for finding in findings)
    if as_json:
        report: dict[str, Any] = {"ok": not failed, "findings": [asdict(finding) for finding in findings]}
        if surveyed is not None:
            from ranker.cli.display.capacity import as_data

            report["capacity"] = as_data(surveyed, rates, utilisation, stated)
        click.echo(json.dumps(report))
    elif surveyed is not None:
        from ranker.cli.display.capacity import print_survey

        print_survey(surveyed, rates, utilisation, stated)
    sys.exit(int(failed))


def _survey(
    examination: Examination, findings: list[Finding], products: int, show: Callable[[Finding], None]
) -> Survey | None:
    """Measure, where the checks found all that this needs; else say why not."""
    from ranker.doctor.attempt import attempt, one_line
    from ranker.doctor.capacity.survey import LIMIT_S, survey
    from ranker.upkeep.finding import fail

    settings, model, sample = examination.settings, examination.model, examination.sample
    if settings is None or model is None or sample is None or not (sample.user.ids and sample.product.ids):
        remedy = "Mend what is said above: measuring needs valid settings, the model, and stored users and products."
        show(fail("capacity", "not measured", remedy))
        return None
    limits = [limit for f in findings if f.check == "eviction" and (limit := f.data.get("maxmemory"))]
    done: list[Survey] = []

    def measure() -> list[Finding]:
        try:
            done.append(
                survey(settings, model, sample, min(products, settings.max_products), min(limits, default=None))
            )
        except OSError as err:
            remedy = "Let this process listen on 127.0.0.1, where it asks itself over HTTP; try when less runs."
            return [fail("capacity", f"not measured: {one_line(str(err))}", remedy)]
        return []

    for finding in attempt("capacity", measure, LIMIT_S):
        show(finding)
    return done[0] if done else None


def _misses(hit_rates: tuple[float, float] | None) -> Misses | None:
    """Return the shares that the cache does not have; None where they are to be computed."""
    if hit_rates is None:
        return None
    from ranker.doctor.capacity.figures import Misses

    users, products = hit_rates
    return Misses(1 - users, 1 - products)


def _print(finding: Finding) -> None:
    from rich.text import Text

    status = (finding.status.ljust(6), COLOURS[finding.status])
    line = Text.assemble(status, (f"{finding.check:<17} ", "bold"), finding.seen)
    if finding.remedy:
        line.append(f"\n{'':24}{finding.remedy}", style="italic")
    console().print(line)
