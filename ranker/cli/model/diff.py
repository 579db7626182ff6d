"""`ranker model diff`: sets two stored models side by side. Owns the options, what is printed and the exit code."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING

import click

from ranker.cli import place
from ranker.cli.display.output import JSON, console, examples, print_pairs

if TYPE_CHECKING:
    from ranker.upkeep.comparison import Agreement


@click.command(
    epilog=examples(
        "ranker model diff shoes:1 shoes:2",
        "ranker model diff shoes:1 shoes:2 --synthetic --min-correlation 0.9",
    ),
)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--requests", type=click.IntRange(1, 10_000), default=200, show_default=True, help="Requests to compare.")
@click.option(
    "--products", type=click.IntRange(2, 1000), default=100, show_default=True, help="Products of each request."
)
@click.option("--top-k", type=click.IntRange(1), default=10, show_default=True, help="How many of the best to compare.")
@click.option("--synthetic", is_flag=True, help="Make features up instead of reading Redis (RANKER_REDIS_URL).")
@click.option(
    "--min-correlation", type=click.FloatRange(-1, 1), metavar="RHO", help="Exit with 1 when the mean is below."
)
@click.option("--min-overlap", type=click.FloatRange(0, 1), metavar="SHARE", help="Exit with 1 when the mean is below.")
@JSON
def diff(
    a: str,
    b: str,
    requests: int,
    products: int,
    top_k: int,
    synthetic: bool,
    min_correlation: float | None,
    min_overlap: float | None,
    as_json: bool,
) -> None:
    """Compare the models A and B: their schemas, and how they order the same products.

    Users and products are drawn, seeded, from those stored under A's keys; each model reads its own keys, and scores a
    product that it has no features for by its schema's defaults, as the service does. The exit code is 0 however much
    the models differ, unless --min-correlation or --min-overlap says what is too much; a bound that cannot be checked,
    for nothing was compared, counts as missed.
    """
    from ranker.scoring.registry import find_model, load_model
    from ranker.upkeep import comparison

    stored = [find_model(tag) for tag in (a, b)]
    loaded = [load_model(model) for model in stored]
    differences = [
        *comparison.schema_differences(loaded[0].schema, loaded[1].schema),
        *comparison.graph_differences(loaded[0], loaded[1]),
    ]
    agreement: Agreement | None
    if synthetic:
        agreement = comparison.synthetic_agreement(*loaded, requests=requests, products=products, top_k=top_k)
    else:
        with place.connected() as client:
            agreement = comparison.stored_agreement(client, *loaded, requests=requests, products=products, top_k=top_k)
    missed = _missed_bounds(agreement, {"correlation": min_correlation, "overlap": min_overlap})
    tags = [str(model.tag) for model in stored]
    prints = [f"{model.schema.fingerprint:08x}" for model in loaded]
    if as_json:
        sides = [{"tag": tag, "fingerprint": fingerprint} for tag, fingerprint in zip(tags, prints, strict=True)]
        compared = agreement and agreement.as_json()
        click.echo(json.dumps({"a": sides[0], "b": sides[1], "differences": differences, "agreement": compared}))
    else:
        print_pairs({"A": f"{tags[0]}, schema {prints[0]}", "B": f"{tags[1]}, schema {prints[1]}"})
        for difference in differences or ["same schema, same inputs and output"]:
            console().print(f"  {difference}", markup=False)
        print_pairs(_agreement_pairs(agreement, top_k))
    if missed:
        click.echo(f"Too different: {' and '.join(missed)} below what was asked for.", err=True)
        sys.exit(1)


def _missed_bounds(agreement: Agreement | None, bounds: dict[str, float | None]) -> list[str]:
    """Return the figures of an agreement that are below what was asked for; without one, or of NaN, each that was."""
    found = {} if agreement is None else {"correlation": agreement.correlation, "overlap": agreement.overlap}
    return [name for name, least in bounds.items() if least is not None and not found.get(name, math.nan) >= least]


def _agreement_pairs(agreement: Agreement | None, top_k: int) -> dict[str, str]:
    if agreement is None:
        return {"Compared": "nothing: there are no users or products under A's keys"}
    one_score = agreement.requests - agreement.ordered
    twentieth = "one request in twenty below"
    compared = f"{agreement.requests:,} requests of {agreement.products:,} products"
    if one_score:
        compared += f", {one_score:,} of them with one score for all"
    rho = f"mean {agreement.correlation:.3f}, {twentieth} {agreement.correlation_p5:.3f}"
    if not agreement.ordered:
        rho = "not defined: in each request, a model gives all products one score"
    pairs = {
        "Compared": compared,
        "Spearman's rho": rho,
        f"Best {top_k} in common": f"mean {agreement.overlap:.0%}, {twentieth} {agreement.overlap_p5:.0%}",
    }
    if any(agreement.missing):
        pairs["Without features"] = "{:.1%} of the products for A, {:.1%} for B".format(*agreement.missing)
    return pairs
