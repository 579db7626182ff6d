"""Trial request: round trips to Redis, then a ranking with the real store and the real model, taken here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

import numpy as np

from ranker.doctor.attempt import one_line, trouble
from ranker.doctor.sample import Sample
from ranker.errors import RankerError, StoreUnavailable
from ranker.features.groups.grouped import GroupedRows
from ranker.features.store import CONNECTIONS, RedisStore
from ranker.features.uncached import UncachedStore
from ranker.ranking.job import FETCH_SHARE, Policy
from ranker.ranking.pipeline import Pipeline
from ranker.redis.cluster.connections import ClusterConnections
from ranker.redis.connect import Connections, connect
from ranker.redis.url import parse
from ranker.scoring.loaded import LoadedModel
from ranker.scoring.scorer import Scorer
from ranker.settings.environment import Settings
from ranker.upkeep.finding import Finding, fail, ok, warn
from ranker.vectors.rows import ProductId, Unread, UserId
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import make_keys

PRODUCTS = 100
"""Products of the trial request, if there are as many."""
PINGS, MGETS = 200, 50
BUDGET_S = 1.5
"""The time for each of these; over a slow network fewer are made."""
FAR_MS = 5.0
"""Median round trip, in milliseconds, above which Redis is farther away than it should be from a ranking service."""


def trial_ids(sample: Sample | None, n: int = PRODUCTS) -> tuple[UserId, list[ProductId], str]:
    """Return a user and up to n products to ask for, and what to call them; absent ones when none are known."""
    if sample is None or not (sample.user.ids and sample.product.ids):
        return UserId("doctor"), [ProductId(f"doctor-{i}") for i in range(n)], "absent"
    return UserId(sample.user.ids[0]), [ProductId(i) for i in sample.product.ids[:n]], "stored"


def check_round_trips(settings: Settings, schema: FeatureSchema, sample: Sample | None) -> Finding:
    """Time PINGs, and MGETs of one request's keys, on a connection as a worker has it."""
    user_id, product_ids, which = trial_ids(sample)
    wanted = make_keys(schema.user, (user_id,) if schema.has_user else ()) + make_keys(schema.product, product_ids)

    async def measure() -> tuple[list[float], list[float]]:
        connections = connect(settings.redis_url, size=1, timeout_s=settings.deadline_ms / 1000)
        try:
            await connections.ping()
            pings = await _times_ms(partial(_ping, connections), PINGS)
            for value in await connections.mget(wanted):
                if isinstance(value, Unread):  # by one node of a Cluster
                    raise StoreUnavailable(value.reason)
            return pings, await _times_ms(lambda: connections.mget(wanted), MGETS)
        finally:
            await connections.close()

    try:
        pings, mgets = asyncio.run(measure())
    except StoreUnavailable as err:
        found = trouble("round trip", err)
        if found.status == "warn":  # what the doctor may not do here, the service may not either
            remedy = "Let the user of RANKER_REDIS_URL use MGET on the model's keys (ACL SETUSER ... +mget ~PREFIX*)."
            return fail("round trip", found.seen, remedy)
        return found
    p50, p99 = np.percentile(pings, (50, 99)).tolist()
    mget_p50, mget_p99 = np.percentile(mgets, (50, 99)).tolist()
    asked = "PING of all primaries" if parse(settings.redis_url).kind == "cluster" else "PING"
    seen = (
        f"{asked} p50 {p50:.2f} ms, p99 {p99:.2f} ms ({len(pings)}); MGET of {len(wanted)} {which} keys "
        f"p50 {mget_p50:.2f} ms, p99 {mget_p99:.2f} ms ({len(mgets)})"
    )
    data = {
        "ping_p50_ms": p50,
        "ping_p99_ms": p99,
        "mget_p50_ms": mget_p50,
        "mget_p99_ms": mget_p99,
        "keys": len(wanted),
    }
    if mget_p99 > FETCH_SHARE * settings.deadline_ms:
        remedy = "Find out what delays Redis, or raise RANKER_DEADLINE_MS: late features are replaced by defaults."
        return warn(
            "round trip", f"{seen}; the deadline allows {FETCH_SHARE * settings.deadline_ms:g} ms", remedy, **data
        )
    if p50 > FAR_MS:
        return warn("round trip", seen, "Run the service in the same zone as Redis: each miss waits this long.", **data)
    return ok("round trip", seen, **data)


def check_ranking(settings: Settings, model: LoadedModel, sample: Sample | None) -> Finding:
    """Rank once, after a first time that warms up; a failure is shown, not degraded."""
    user_id, product_ids, which = trial_ids(sample)
    schema = model.schema

    async def rank() -> Finding:
        connections = connect(settings.redis_url, size=CONNECTIONS, timeout_s=settings.deadline_ms / 1000)
        store, scorer = UncachedStore(RedisStore(connections, schema), schema), Scorer(model.score)
        policy = Policy(settings.deadline_ms / 1000, "error", "default", settings.missing_product)
        groups = GroupedRows(schema, store) if schema.reads_more else None
        pipeline = Pipeline(schema, store, scorer.begin, policy, groups=groups)
        try:
            await store.open()
            await pipeline.rank(user_id, product_ids)
            answer = await pipeline.rank(user_id, product_ids)
        finally:
            await pipeline.close()
            await store.close()
            scorer.close()
        seen = f"a user and {len(product_ids)} products ({which}): {answer.timings().to_header().decode()}"
        data = {f"{name}_ms": seconds * 1000 for name, seconds in answer.timings()._asdict().items()}
        data |= {"products": len(product_ids), "missing": len(answer.missing), "which": which}
        if which == "absent":
            remedy = "Load features, or let the doctor SCAN for some: this ranking saw default vectors only."
            return warn("trial ranking", seen, remedy, **data)
        bad = int(np.count_nonzero(~np.isfinite(answer.row_scores)))
        if bad:
            remedy = (
                "Look at the features of products whose score is NaN or infinite: NaN ranks last, and shows as null; "
                "infinity ranks at its end, and shows as 3.4028235e38."
            )
            return warn("trial ranking", f"{seen}; {bad} scores are not finite", remedy, **data)
        return ok("trial ranking", seen, **data)

    try:
        return asyncio.run(rank())
    except RankerError as err:
        remedy = "The service would degrade such answers (or refuse them, see RANKER_ON_FAILURE): mend this first."
        return fail("trial ranking", one_line(str(err)), remedy)


async def _ping(connections: Connections) -> None:
    """Have every server that holds keys answer once."""
    if isinstance(connections, ClusterConnections):
        await asyncio.gather(*(node.ping() for node in connections.topology.primaries))
    else:
        await connections.ping()


async def _times_ms(call: Callable[[], Awaitable[object]], count: int) -> list[float]:
    """Time up to `count` calls within the budget, after one that connects; in milliseconds."""
    await call()
    times: list[float] = []
    deadline = time.perf_counter() + BUDGET_S
    while len(times) < count and time.perf_counter() < deadline:
        started = time.perf_counter()
        await call()
        times.append((time.perf_counter() - started) * 1000)
    return times
