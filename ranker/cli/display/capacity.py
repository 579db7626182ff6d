"""Display of `ranker doctor --capacity`: what it measured, what it assumes, and what follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.text import Text

from ranker.cli.display.output import console, print_table
from ranker.doctor.capacity.figures import COLD, Misses
from ranker.doctor.capacity.law import Plan, plan
from ranker.doctor.capacity.survey import Survey
from ranker.scoring.split.note import Gain

UNKNOWN = "not measured"
MIB = 1 << 20


def plans(
    surveyed: Survey, rates: Sequence[float], utilisation: float, stated: Misses | None
) -> list[tuple[str, Plan]]:
    """Return what each rate needs with a warm cache, and with an empty one."""
    cache = (("warm", stated), ("cold", COLD)) if surveyed.shop.cache_bytes else (("none", COLD),)
    return [
        (name, plan(surveyed.costs, surveyed.shop, rate, utilisation, misses))
        for rate in rates
        for name, misses in cache
    ]


def as_data(surveyed: Survey, rates: Sequence[float], utilisation: float, stated: Misses | None) -> dict[str, Any]:
    """Return everything as plain data for JSON."""
    return asdict(surveyed) | {
        "parts": None if surveyed.parts is None else surveyed.parts.model_dump(),
        "utilisation": utilisation,
        "hit_rates": "computed" if stated is None else "stated",
        "plans": [{"cache": name} | asdict(one) for name, one in plans(surveyed, rates, utilisation, stated)],
    }


def print_survey(surveyed: Survey, rates: Sequence[float], utilisation: float, stated: Misses | None) -> None:
    """Print what was measured and assumed, then what each rate needs."""
    costs, shop = surveyed.costs, surveyed.shop
    user, product = shop.user, shop.product
    api = ", ".join(f"{us:,.0f} us ({state})" for state, us in costs.api_us.items())
    one = ", ".join(f"{1e6 / us:,.0f} ({state})" for state, us in costs.api_us.items())
    runner = "none, the API worker scores" if costs.runner_us is None else f"{costs.runner_us:,.0f} us, with scoring"
    hits = (
        f"as stated: {1 - stated.user:.0%} of users, {1 - stated.product:.0%} of products"
        if stated
        else f"computed: a worker reads a user again after {user.ttl_s:g} s and a product after {product.ttl_s:g} s"
    )
    groups = shop.groups.items()
    if groups:
        of_groups = "groups' rows like what they are per"
        hits += f"; {of_groups}" if stated else "".join(f", a row of {name} after {g.ttl_s:g} s" for name, g in groups)
    console().print(f"\nMeasured here and now, with {costs.products} products a request; CPU of one request:")
    _say("API worker", api)
    _say("one worker", f"has no time left at {one} requests/s")
    _say("runner", runner)
    _say("scoring", "by the whole graph" if surveyed.parts is None else _in_parts(surveyed.parts))
    if costs.looked_up:
        _say("histories", f"up to {costs.looked_up:,} products a request are looked up beside its own, and count so")
    _say("Redis", UNKNOWN if costs.redis_key_us is None else f"{costs.redis_key_us:.2f} us for each key")
    rows = [f"{_figure(group.count)} rows of {name}" for name, group in groups]
    stored = _listed([f"{_figure(user.count)} users", f"{_figure(product.count)} products", *rows])
    _say("stored", f"{stored}, {_mib(shop.stored_bytes)} MiB")
    sizes = [f"{group.wire_bytes:,.0f} a row of {name}" for name, group in groups]
    wire = _listed([f"{user.wire_bytes:,.0f} a user", f"{product.wire_bytes:,.0f} a product", *sizes])
    _say("bytes", f"{wire} from Redis; {shop.http_bytes:,} of bodies an exchange")
    entries = [f"{group.entry_bytes:,} a row of {name}" for name, group in groups]
    entry = _listed([f"{user.entry_bytes:,} bytes a user", f"{product.entry_bytes:,} a product", *entries])
    _say("near cache", f"{entry}; every row: {_mib(shop.held_bytes)} MiB")
    _say("process", f"{_mib(shop.process_bytes)} MiB and {_mib(shop.cache_bytes)} MiB of cache (RANKER_CACHE_MB)")
    console().print("\nAssumed:")
    _say("headroom", f"{1 - utilisation:.0%} of each core is left free (--utilisation {utilisation:g})")
    _say("hit rate", hits if shop.cache_bytes else "no cache, as RANKER_CACHE_MB=0 asks")
    _say("cores", "are like this machine's, and scale: what workers share (memory, network) is not the limit")
    if surveyed.defaulted:
        _say("requests", "bring no context: features from requests took their defaults")
    if surveyed.not_measured:
        _say(UNKNOWN, f"{', '.join(surveyed.not_measured)}: what needs it is left open, and its cache counts as cold")
    console().print()
    _print_plans(plans(surveyed, rates, utilisation, stated), served=costs.runner_us is not None)


def _in_parts(gain: Gain) -> str:
    """Say what the parts take, which is in the figures above."""
    prepared = f"a product takes {gain.prepare_us:,.1f} us to prepare and {gain.product_bytes:,} bytes of the cache"
    return f"in parts, {gain.split_us:,.0f} us (the whole graph: {gain.whole_us:,.0f} us); {prepared}"


def _print_plans(rows: Sequence[tuple[str, Plan]], *, served: bool) -> None:
    columns = ["requests/s", "cache", "user hits", "product hits", "API cores", "workers"]
    columns += ["runner cores"] * served
    columns += ["in flight", "Redis keys/s", "Redis nodes", "service MiB", "Redis MiB", "Redis MB/s", "HTTP MB/s"]
    lines = (
        (
            f"{one.rate:,.0f}",
            name,
            f"{1 - one.misses.user:.1%}",
            f"{1 - one.misses.product:.1%}",
            f"{one.api_cores:,.2f}",
            f"{one.workers:,}",
            *([_figure(one.runner_cores, 2)] if served else []),
            f"{one.in_flight:,.1f}",
            f"{one.keys_per_s:,.0f}",
            _figure(one.redis_nodes),
            _mib(one.service_bytes),
            _mib(one.redis_bytes),
            f"{one.redis_bytes_per_s / 1e6:,.1f}",
            f"{one.http_bytes_per_s / 1e6:,.1f}",
        )
        for name, one in rows
    )
    print_table(columns, lines, right=[column for column in columns if column != "cache"])


def _say(label: str, text: str) -> None:
    console().print(Text.assemble((f"  {label.ljust(14)}", "bold"), text))


def _listed(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _mib(size: float | None) -> str:
    return UNKNOWN if size is None else f"{size / MIB:,.1f}" if size < 100 * MIB else f"{size / MIB:,.0f}"


def _figure(value: float | None, digits: int = 0) -> str:
    return UNKNOWN if value is None else f"{value:,.{digits}f}"
