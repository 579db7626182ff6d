"""`ranker bench URL`: load a deployed service at a constant rate, and judge what came of it.

Owns the options and what is printed; the load itself is `ranker.loadtest`, imported late so that `ranker --help`
answers at once.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ranker.cli.display.output import INTERRUPTED, console, examples
from ranker.cli.token import TOKEN, token_in
from ranker.settings.environment import DEMO_FOLDER

if TYPE_CHECKING:
    from ranker.loadtest.recording import Figures
    from ranker.loadtest.run import Run
    from ranker.loadtest.verdict import Verdict

GENERATOR = "the generator"


def _positive(_: click.Context, parameter: click.Parameter, value: float) -> float:
    if not 0 < value < float("inf"):
        raise click.BadParameter("it must be above 0.", param=parameter)
    return value


@click.command(
    short_help="Load a service at a constant rate, and check thresholds.",
    epilog=examples(
        "ranker bench http://127.0.0.1:3000 --rate 300 --seconds 60",
        "ranker bench https://rank.example.com --user-ids users.txt --product-ids products.txt --token-env TOKEN",
    ),
)
@click.argument("url")
@click.option("--rate", type=float, default=300.0, show_default=True, callback=_positive, help="Requests a second.")
@click.option("--seconds", type=float, default=60.0, show_default=True, callback=_positive, help="How long to send.")
@click.option(
    "--products",
    type=click.IntRange(1),
    show_default="100, or all where there are fewer",
    help="Products of a request.",
)
@click.option(
    "--user-ids", type=click.Path(path_type=Path), metavar="FILE", show_default="the demo's",
    help="Users to ask for, one id a line.",
)  # fmt: skip
@click.option(
    "--product-ids", type=click.Path(path_type=Path), metavar="FILE", show_default="the demo's",
    help="Products to ask for, one id a line.",
)  # fmt: skip
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEMO_FOLDER,
    show_default=True,
    help="Where `ranker demo` keeps its record, which tells the demo's ids.",
)
@click.option(
    "--max-p99-ms", type=float, default=300.0, show_default=True, callback=_positive, help="Fail when p99 is above."
)
@click.option(
    "--max-error-rate",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Fail when a larger share of the requests fails.",
)
@TOKEN
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON, with those of each second.")
def bench(
    url: str,
    rate: float,
    seconds: float,
    products: int | None,
    user_ids: Path | None,
    product_ids: Path | None,
    directory: Path,
    max_p99_ms: float,
    max_error_rate: float,
    token_env: str | None,
    as_json: bool,
) -> None:
    """Load the service at URL at a constant rate, and exit with 1 when a threshold is passed.

    Requests leave at their intended moments, whatever becomes of those before them, and latency counts from these
    moments: a service that stalls cannot hide what waited meanwhile. Users are drawn evenly and products by a Zipf law,
    seeded, from the demo that the service serves or from your own files.

    An error is an answer with another status than 200, a degraded answer, or none within 10 seconds of the last send.
    """
    if (user_ids is None) != (product_ids is None):
        raise click.UsageError("--user-ids and --product-ids go together.")
    if rate * seconds < 1:
        raise click.UsageError(f"At {rate:g} requests a second none leaves within {seconds:g} s. Give more --seconds.")
    from ranker.cli.display.bench import Display
    from ranker.loadtest.ids import bodies_for
    from ranker.loadtest.run import Run, load
    from ranker.loadtest.target import Target
    from ranker.loadtest.verdict import Thresholds, judge

    target = Target.parse(url, token_in(token_env))
    bodies = bodies_for(target, user_ids, product_ids, directory, products)
    run, interrupted = Run(), False
    try:
        with closing(load(target, bodies, rate, seconds)) as running, Display(target.url, rate, seconds) as display:
            for run in running:
                display.show(run)
    except KeyboardInterrupt:
        interrupted = True
    figures = run.figures()
    verdict = judge(figures, rate, Thresholds(max_p99_ms, max_error_rate), GENERATOR)
    if as_json:
        click.echo(json.dumps(_for_machines(run, verdict, rate), indent=1))
    else:
        _print(figures, verdict, rate)
    if interrupted:
        click.echo(f"Interrupted after {run.lasted_s:.0f} of {seconds:g} seconds.", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(0 if verdict.held else 1)


def _for_machines(run: Run, verdict: Verdict, rate: float) -> dict[str, Any]:
    return {
        "held": verdict.held,
        "generator_limited": verdict.generator_limited,
        "verdict": verdict.line,
        "rate": rate,
        **run.figures().to_json(),
        "per_second": [second.to_json() for second in run.seconds],
    }


def _print(figures: Figures, verdict: Verdict, rate: float) -> None:
    from ranker.loadtest.recording import QUANTILES

    names = dict(zip(QUANTILES, ("p50", "p90", "p99", "p99.9", "max"), strict=True))
    latency = "  ".join(f"{names[name]} {value:.2f}" for name, value in figures.latency.items())
    pairs = {
        "Requests": f"{figures.requests:,} in {figures.seconds:.1f} s, {rate:g}/s intended",
        "Latency (ms)": latency or "nothing was answered",
        "Errors": ", ".join(f"{count:,} {kind}" for kind, count in figures.errors.items()) or "none",
    }
    if figures.incomplete:
        pairs["Incomplete"] = (
            f"{figures.incomplete:,} answers named products without features: are these the right ids?"
        )
    for label, value in pairs.items():
        console().print(f"{label:<14}{value}", markup=False)
    console().print(verdict.line, markup=False)
