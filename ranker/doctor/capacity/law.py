"""Scaling law: from measured costs to cores, workers, Redis nodes, memory and network. Pure arithmetic.

The utilisation law (Denning & Buzen, "The Operational Analysis of Queueing Network Models", Computing Surveys 10(3),
1978) says U = X D: what is busy is the throughput times the demand, the time one request takes of it. Turned round,
with R requests/s of n products, and u the part of a core's saturation rate that is planned for:

    API cores     = R x D_api / u                      workers = API cores, rounded up, for a worker uses one core
    runner cores  = R x D_runner / u                   (RANKER_RUNNER=service; otherwise the API workers score)
    keys/s        = R x (m_user + n x m_product)       m is the share of rows that the cache does not have;
                                                       a group per user or per product adds its own
    Redis nodes   = the larger of keys/s x D_key / u and bytes stored / maxmemory, rounded up
    D_api         = cached + p x (user read - cached) + m_product x (all read - user read),
                    p = 1 - (1 - m_user) x (1 - m_product)^n being the share of requests that read anything,
                    groups' rows among them
    service bytes = (workers + runner cores, rounded up) x process + workers x cache
    network       = keys/s x bytes of a key and its value;  R x bytes of a request's and an answer's bodies

Little's law (Little, Operations Research 9(3), 1961) says N = X W: the requests in flight are the rate times the time
each stays, here W = (D_api + D_runner) / (1 - u), of a server that shares its time among what has come (M/M/1).

m follows from the times to live where it is not stated. A worker reads a row again once per time to live T at most, so
of an entity with K rows, of which R k are asked a second, m = min(1, workers x K / (R k T)). When only a part of the
rows fits into the cache, the rest of that part is read too, as if all rows were asked for equally often. Where K is not
known, or T is 0, m = 1. More workers read more, which takes more workers: `plan` looks for the smallest number that
suffices. Requests that are merged into one MGET share its keys, so keys/s is an upper bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ranker.doctor.capacity.figures import Costs, Entity, Misses, Shop


@dataclass(frozen=True, slots=True)
class Plan:
    """Machines for one rate of requests; None where something was not measured."""

    rate: float
    misses: Misses
    api_cores: float
    workers: int
    runner_cores: float | None
    in_flight: float
    keys_per_s: float
    redis_nodes: int | None
    service_bytes: float
    redis_bytes: float | None
    redis_bytes_per_s: float
    http_bytes_per_s: float


def plan(costs: Costs, shop: Shop, rate: float, utilisation: float, stated: Misses | None = None) -> Plan:
    """Apply the law of this module.

    Args:
        costs: Of a request.
        shop: What is stored and what serves it.
        rate: Requests/s.
        utilisation: u, between 0 and 1.
        stated: Shares to take instead of those that follow from the times to live.
    """
    workers = 1
    while True:
        misses = _misses(costs, shop, rate, workers) if stated is None else stated.of_groups(shop.groups)
        api_us = costs.api_demand_us(misses)
        api_cores = rate * api_us / 1e6 / utilisation
        if math.ceil(api_cores) <= workers:
            break
        workers = math.ceil(api_cores)
    runner_us = costs.runner_us or 0.0
    runner_cores = rate * runner_us / 1e6 / utilisation
    entities = shop.entities
    keys = {name: rate * costs.rows_of(name, entity.per) * misses.of(name) for name, entity in entities.items()}
    keys_per_s = sum(keys.values())
    return Plan(
        rate=rate,
        misses=misses,
        api_cores=api_cores,
        workers=workers,
        runner_cores=None if costs.runner_us is None else runner_cores,
        in_flight=rate * (api_us + runner_us) / 1e6 / (1 - utilisation),
        keys_per_s=keys_per_s,
        redis_nodes=_nodes(costs, shop, keys_per_s, utilisation),
        service_bytes=(workers + math.ceil(runner_cores)) * shop.process_bytes + workers * shop.cache_bytes,
        redis_bytes=shop.stored_bytes,
        redis_bytes_per_s=sum(keys[name] * entity.wire_bytes for name, entity in entities.items()),
        http_bytes_per_s=rate * shop.http_bytes,
    )


def not_measured(costs: Costs, shop: Shop) -> list[str]:
    """Name what is not known."""
    figures = {
        "CPU of Redis": costs.redis_key_us,
        "number of users": shop.user.count,
        "number of products": shop.product.count,
        **{f"number of {name} rows": group.count for name, group in shop.groups.items()},
        "bytes in Redis": shop.stored_bytes,
    }
    return [name for name, value in figures.items() if value is None]


def _misses(costs: Costs, shop: Shop, rate: float, workers: int) -> Misses:
    missed = {
        name: _miss(entity, rate * costs.rows_of(name, entity.per), workers, shop.cache_bytes * entity.cache_share)
        for name, entity in shop.entities.items()
    }
    groups = {name: (group.per, missed[name]) for name, group in shop.groups.items()}
    return Misses(missed["user"], missed["product"], groups)


def _miss(entity: Entity, rows_per_s: float, workers: int, cache_bytes: float) -> float:
    if not entity.count or not entity.ttl_s:
        return 1.0
    expired = min(1.0, workers * entity.count / (rows_per_s * entity.ttl_s))
    fits = min(1.0, cache_bytes / (entity.count * entity.entry_bytes))
    return 1 - (1 - expired) * fits


def _nodes(costs: Costs, shop: Shop, keys_per_s: float, utilisation: float) -> int | None:
    if costs.redis_key_us is None:
        return None
    nodes = math.ceil(keys_per_s * costs.redis_key_us / 1e6 / utilisation)
    if shop.node_bytes and shop.stored_bytes:
        nodes = max(nodes, math.ceil(shop.stored_bytes / shop.node_bytes))
    return max(1, nodes)
