"""Capacity survey: measures all that the scaling law needs, on this machine, for the user's own model and data."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]  # comes with BentoML

from ranker.doctor.capacity.law import STATES, Costs, Entity, Shop, not_measured
from ranker.doctor.capacity.parts import measure_parts
from ranker.doctor.capacity.requests import make_requests
from ranker.doctor.capacity.server import measure_key_us, measure_redis_bytes, wire_bytes
from ranker.doctor.capacity.whole import measure_wholes
from ranker.doctor.nodes import Nodes, find_nodes
from ranker.doctor.sample import EntitySample, Sample
from ranker.errors import StoreUnavailable
from ranker.features.near_cache.arena import ENTRY_BYTES
from ranker.scoring.loaded import LoadedModel
from ranker.scoring.split.note import Gain
from ranker.settings.environment import Settings
from ranker.vectors.stored.encoding import make_keys

BUDGET_S = 2.0
"""Length of each of four measurements, in seconds."""
LIMIT_S = 120.0
"""The bound on all of them; a slow model needs more than the some 10 s of others."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Results of the survey.

    Attributes:
        costs, shop: What the law takes.
        parts: CPU of the parts of the model's graph; None where it is served whole.
        not_measured: What is not known.
        defaulted: Whether the requests left out features that the model takes from requests.
        groups: Groups under keys of their own, whose part in Redis and in the cache is not measured.
    """

    costs: Costs
    shop: Shop
    parts: Gain | None
    not_measured: list[str]
    defaulted: bool
    groups: tuple[str, ...] = ()


def survey(
    settings: Settings,
    model: LoadedModel,
    sample: Sample,
    products: int,
    node_bytes: int | None,
    budget_s: float = BUDGET_S,
) -> Survey:
    """Measure everything, in some seconds.

    Args:
        settings: As the service has them.
        model: The model.
        sample: Usable users and products; at least one of each.
        products: Of a request; as many as there are when those are fewer.
        node_bytes: Redis' maxmemory, of the smallest node; None when it has none.
        budget_s: Seconds of each measurement.

    Raises:
        RankerError: Redis or the model failed meanwhile.
        OSError: there is no loopback here.
    """
    process_bytes = int(psutil.Process().memory_info().rss)  # before there is a cache
    requests = make_requests(sample, products)
    states = STATES if settings.cache_mb else STATES[-1:]
    gc.collect()
    gc.freeze()  # as a worker does once it is warm
    try:
        wholes = asyncio.run(measure_wholes(settings, model, requests, budget_s, states))
    finally:
        gc.unfreeze()
    schema, request = model.schema, requests[0]
    found, findings = find_nodes(settings.redis_url)
    if found is None:
        raise StoreUnavailable(findings[0].seen)
    with found as nodes:
        reads = [
            (entity, [str(key).encode() for key in make_keys(entity, ids)])
            for entity, ids in ((schema.user, [request.userId or ""]), (schema.product, request.productIds))
            if entity.features
        ]
        key_us = measure_key_us(nodes, reads, budget_s)
        user = _entity(nodes, sample.user, settings.cache_user_ttl_s, schema.user.width)
        product = _entity(nodes, sample.product, settings.cache_ttl_s, model.cached_product_width)
    served = settings.runner == "service"
    some = wholes["all read"]
    costs = Costs(
        products=len(request.productIds),
        # Beside the loop's thread there is the runner's, or the one in which the worker scores with a slow model.
        api_us={state: whole.loop_us + (0.0 if served else whole.other_us) for state, whole in wholes.items()},
        runner_us=some.other_us if served else None,
        redis_key_us=key_us,
    )
    shop = Shop(user, product, some.bytes, settings.cache_mb << 20, process_bytes, node_bytes)
    defaulted = schema.context is not None or schema.product_context is not None
    parts = measure_parts(settings.redis_url, model, request)
    return Survey(costs, shop, parts, not_measured(costs, shop), defaulted, tuple(schema.keyed))


def _entity(nodes: Nodes, side: EntitySample, ttl_s: float, width: int) -> Entity:
    return Entity(
        count=side.total,
        entry_bytes=4 * width + ENTRY_BYTES,
        redis_bytes=measure_redis_bytes(nodes, side),
        wire_bytes=wire_bytes(side),
        ttl_s=ttl_s,
    )
