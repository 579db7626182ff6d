"""Measures what reading from a Redis Cluster costs an API worker, and what it costs when slots move.

    python -m benchmarks.micro.cluster

Three primaries on this machine, values of 264 bytes (64 float32). Microseconds of CPU time of this process, medians of
rounds in turn; beside it the same keys of one server. "A slot moves" is what an API worker does when a node says MOVED
for one slot, with a near cache of 10,000 products; "a look" is asking a node who owns what, and finding nothing new.
What it does not measure: the servers' own time, and waiting.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import numpy as np
from redis import RedisCluster

from ranker.demo.ports import free_port
from ranker.demo.servers import cluster, running
from ranker.features.near_cache.cache import CachedStore
from ranker.features.store import RedisStore
from ranker.redis.cluster.connections import ClusterConnections
from ranker.redis.connect import connect, tracking_beside
from ranker.redis.hash_slots import SLOTS
from ranker.vectors.rows import ProductId
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import encode

WIDTH = 64
SCHEMA = FeatureSchema.from_mapping(
    {
        entity: {"features": [{"name": f"{entity[0]}{i}", "default": 0.0} for i in range(WIDTH)]}
        for entity in ("user", "product")
    }
)
PRODUCTS = 10_000
SIZES = (1, 10, 100, 1000)
ROUNDS, CALLS = 9, 50


async def measure(clustered: str, single: str) -> None:
    """Print a table."""
    many = connect(clustered, size=2, timeout_s=5.0)
    one = connect(single, size=2, timeout_s=5.0)
    assert isinstance(many, ClusterConnections)
    store = CachedStore(
        RedisStore(many, SCHEMA),
        SCHEMA,
        size_bytes=1 << 26,
        ttl_s=3600,
        user_ttl_s=3600,
        tracking="on",
        make_tracking=tracking_beside(many, clustered, timeout_s=5.0),
    )
    await store.open()
    await one.open()
    await store.fill([ProductId(str(i)) for i in range(PRODUCTS)])
    hosts = [node.host for node in many.topology.primaries]
    moves = iter(range(SLOTS))

    async def move() -> None:
        slot = next(moves)
        owner = many.topology.owners[slot]
        many.topology.moved(slot, next(host for host in hosts if owner is None or host != owner.host))

    ways: dict[str, Callable[[], Awaitable[object]]] = {}
    for size in SIZES:
        keys = [f"product:{i}" for i in range(size)]
        ways[f"Cluster, {size} keys"] = lambda keys=keys: many.mget(keys)
        ways[f"one server, {size} keys"] = lambda keys=keys: one.mget(keys)
    ways["a look"] = lambda: many.topology.look(5.0)
    ways["a slot moves"] = move
    rounds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.process_time()
            for _ in range(CALLS):
                await way()
            rounds[name].append((time.process_time() - began) / CALLS * 1e6)
    print("| | CPU us |\n|---|---:|")
    for name, each in rounds.items():
        print(f"| {name} | {median(each):.0f} |")
    await store.close()
    await one.close()


def main() -> None:
    """Start the servers, and measure."""
    (vector,) = encode(np.zeros((1, SCHEMA.product.width), np.float32), SCHEMA.fingerprint)
    with tempfile.TemporaryDirectory(prefix="ranker-", dir="/tmp") as name:
        port = free_port()
        with cluster(Path(name) / "cluster") as url, running(Path(name) / "one", port) as one:
            with RedisCluster.from_url(url) as many:
                for i in range(PRODUCTS):
                    for client in (many, one):
                        client.set(f"product:{i}", vector)
            asyncio.run(measure(url.replace("redis://", "redis+cluster://"), f"redis://127.0.0.1:{port}"))


if __name__ == "__main__":
    main()
