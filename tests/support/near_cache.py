"""A near cache over a real server, as a worker has it."""

from __future__ import annotations

from ranker.features.near_cache.cache import CachedStore, TrackingMode
from ranker.features.prepared import Preparer
from ranker.features.store import RedisStore
from ranker.redis.connect import Connections, connect, tracking_beside
from ranker.vectors.schema import FeatureSchema
from tests.support.sample import SCHEMA


def near(
    url: str,
    schema: FeatureSchema = SCHEMA,
    *,
    timeout_s: float = 2.0,
    size_bytes: int = 1 << 20,
    tracking: TrackingMode = "on",
    connections: Connections | None = None,
    preparer: Preparer | None = None,
) -> CachedStore:
    """Make one that is not open yet, with connections of its own unless they are given."""
    connections = connections or connect(url, size=2, timeout_s=timeout_s)
    return CachedStore(
        RedisStore(connections, schema),
        schema,
        size_bytes=size_bytes,
        ttl_s=600,
        user_ttl_s=600,
        tracking=tracking,
        make_tracking=tracking_beside(connections, url, timeout_s=timeout_s),
        preparer=preparer,
    )
