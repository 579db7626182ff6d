"""Capacity survey: measures all that the scaling law needs, on this machine, for the user's own model and data."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]  # comes with BentoML

from ranker.api.predict import PredictRequest
from ranker.doctor.capacity.figures import STATES, Costs, Entity, Per, Shop
from ranker.doctor.capacity.law import not_measured
from ranker.doctor.capacity.parts import measure_parts
from ranker.doctor.capacity.requests import make_requests
from ranker.doctor.capacity.server import measure_key_us, measure_redis_bytes, wire_bytes
from ranker.doctor.capacity.whole import measure_wholes
from ranker.doctor.nodes import Nodes, find_nodes
from ranker.doctor.sample import EntitySample, Sample
from ranker.errors import StoreUnavailable
from ranker.features.near_cache.arena import ENTRY_BYTES
from ranker.features.near_cache.entity_cache import split_bytes
from ranker.scoring.loaded import LoadedModel
from ranker.scoring.split.note import Gain
from ranker.settings.environment import Settings
from ranker.vectors.group import EntitySchema
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import make_keys

SHARES = 1 << 40
"""Bytes of a cache that is divided among the entities to learn their shares, large enough that rounding is nothing."""
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
    """

    costs: Costs
    shop: Shop
    parts: Gain | None
    not_measured: list[str]
    defaulted: bool


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
    key_us, entities = _measure_stored(settings, model, sample, request, budget_s)
    user, product = entities.pop("user"), entities.pop("product")
    served = settings.runner == "service"
    some = wholes["all read"]
    costs = Costs(
        products=len(request.productIds),
        # Beside the loop's thread there is the runner's, or the one in which the worker scores with a slow model.
        api_us={state: whole.loop_us + (0.0 if served else whole.other_us) for state, whole in wholes.items()},
        runner_us=some.other_us if served else None,
        redis_key_us=key_us,
        looked_up=sum(side.features[0].length or 0 for side in schema.side_information.values()),
    )
    shop = Shop(user, product, some.bytes, settings.cache_mb << 20, process_bytes, node_bytes, groups=entities)
    defaulted = schema.context is not None or schema.product_context is not None
    parts = measure_parts(settings.redis_url, model, request)
    return Survey(costs, shop, parts, not_measured(costs, shop), defaulted)


def _measure_stored(
    settings: Settings, model: LoadedModel, sample: Sample, request: PredictRequest, budget_s: float
) -> tuple[float | None, dict[str, Entity]]:
    """Return the CPU microseconds of Redis for one key, None when not measured, and what each entity takes, by name.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses.
    """
    found, findings = find_nodes(settings.redis_url)
    if found is None:
        raise StoreUnavailable(findings[0].seen)
    shares = split_bytes(SHARES, model.schema)
    with found as nodes:
        key_us = measure_key_us(nodes, _reads(model.schema, sample, request), budget_s)
        return key_us, {
            one.name: _entity(nodes, one, settings, shares[one.name], model)
            for one in (sample.user, sample.product, *sample.groups.values())
        }


def _reads(schema: FeatureSchema, sample: Sample, request: PredictRequest) -> list[tuple[EntitySchema, list[bytes]]]:
    """Return the keys of a request by entity; of a group, as many of its keys as it may have rows."""
    ids_of = {"user": [request.userId or ""], "product": request.productIds}
    asked: list[tuple[EntitySchema, list[str]]] = [
        (entity, ids_of[name]) for name, entity in schema.entities.items() if name in ids_of
    ]
    reads = [
        (entity, [key if isinstance(key, bytes) else key.encode() for key in make_keys(entity, ids)])
        for entity, ids in asked
    ]
    for name, group in schema.keyed.items():
        rows = 1 if group.per == "user" else len(request.productIds)
        reads.append((group, sample.groups[name].keys[:rows]))
    return [(entity, keys) for entity, keys in reads if keys]


def _entity(nodes: Nodes, sampled: EntitySample, settings: Settings, share: int, model: LoadedModel) -> Entity:
    group = model.schema.keyed.get(sampled.name)
    per: Per = "user" if sampled.name == "user" or (group is not None and group.per == "user") else "product"
    usual_s = settings.cache_user_ttl_s if per == "user" else settings.cache_ttl_s
    width = model.cached_product_width if sampled.name == "product" else sampled.entity.width
    return Entity(
        count=sampled.total,
        entry_bytes=4 * width + ENTRY_BYTES,
        redis_bytes=measure_redis_bytes(nodes, sampled),
        wire_bytes=wire_bytes(sampled),
        ttl_s=usual_s if group is None or group.ttl_s is None else group.ttl_s,
        cache_share=share / SHARES,
        per=per,
    )
