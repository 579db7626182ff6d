"""Warm-up: the whole way of a request before a worker is ready, at the sizes that will come, for nobody.

So the first request is like the thousandth. Owns the rehearsal, and what is in the near cache when it is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter

import orjson

from ranker.api.predict import parse, render
from ranker.errors import DependencyError, RunnerUnavailable, StoreUnavailable, UnknownUser
from ranker.features.near_cache.cache import CachedStore
from ranker.process import background
from ranker.serving.variant import Variant
from ranker.vectors.rows import ProductId

logger = logging.getLogger("ranker.warm_up")

ROWS = (1, 10, 100, 1000)
ROUNDS = 5
"""Rounds of a warm-up: BentoML's dispatcher, where it is used, fits its latency model on the first dozen calls."""
RUNNER_RETRY_S = 0.1


async def warm_up(variants: Sequence[Variant], warm_products: Path | None) -> None:
    """Open the stores, wait for the runner, and rehearse; a Redis that is down is no obstacle.

    Args:
        variants: What callers wait for.
        warm_products: A file of product ids, one a line, to have in each near cache.
    """
    surprises = background.Surprises("warm-up")
    for variant in variants:
        try:
            await variant.store.open()
        except Exception as err:  # whatever it is, it may pass, and the rankings are degraded until then
            logger.warning("Starting without Redis: %s", err)
            if not isinstance(err, StoreUnavailable):
                surprises.note(err)
    rounds = 0
    while rounds < ROUNDS:
        try:
            for variant in variants:
                for rows in sorted({min(rows, variant.max_products) for rows in ROWS}):
                    await variant.score_defaults(rows)
                    with suppress(UnknownUser, DependencyError):
                        await _rehearse(variant, rows)
            rounds += 1
        except RunnerUnavailable:
            await asyncio.sleep(RUNNER_RETRY_S)
    for variant in variants:
        if isinstance(variant.store, CachedStore):
            variant.store.clear()  # nobody asks for what was rehearsed with
            if warm_products is not None:
                await _fill(variant.store, warm_products, variant.tag)


async def _rehearse(variant: Variant, rows: int) -> None:
    """Answer a request from its bytes to the answer's bytes, without counting it."""
    products = [f"warm-up-{i}" for i in range(rows)]
    body = orjson.dumps({"requestId": "warm-up", "userId": "warm-up", "productIds": products})
    request = parse(body, max_products=rows)
    answer = await variant.rehearse(request)
    render(request, answer.ranking, answer.scores, answer.missing, answer.missing_user, answer.degraded_reason)
    answer.timings().to_header()


async def _fill(cache: CachedStore, warm_products: Path, tag: str) -> None:
    began = perf_counter()
    try:
        products = _ids(warm_products)
        filled = await cache.fill(products)
    except (OSError, StoreUnavailable) as err:
        logger.warning("Starting without the products of RANKER_WARM_PRODUCTS: %s", err)
        return
    took_s = perf_counter() - began
    logger.info("Read %d of %d products into the cache of %s in %.1f s", filled, len(products), tag, took_s)


def _ids(file: Path) -> list[ProductId]:
    """Read ids, one a line."""
    lines = file.read_text(errors="replace").splitlines()
    return [ProductId(line.strip()) for line in lines if line.strip()]
