"""What is counted elsewhere in a worker, and written as it stands when the notes are: cache, Redis, load."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Mapping
from typing import Protocol, get_args

from prometheus_client import Counter

from ranker.breaker import Breaker
from ranker.cluster import Breakers
from ranker.connection import Failure
from ranker.metrics import instruments


class Cache(Protocol):
    """What the near cache counts."""

    hits: int
    misses: int
    invalidations: int

    @property
    def evictions(self) -> int: ...
    @property
    def entries(self) -> dict[str, int]: ...
    @property
    def bytes_held(self) -> int: ...
    @property
    def changed_s_ago(self) -> Mapping[str, float]: ...
    @property
    def keeping(self) -> bool: ...


class Redis(Protocol):
    """What the connections to Redis count."""

    @property
    def opened(self) -> int: ...
    @property
    def failures(self) -> Mapping[str, int]: ...
    @property
    def breaker(self) -> Breaker | Breakers: ...


class Sources:
    """Where the counts are that one worker reports."""

    def __init__(self) -> None:
        self._cache: Cache | None = None
        self._redis: Redis | None = None
        self._rows: Callable[[], int] | None = None
        self._waiting: Mapping[str, Callable[[], int]] = {}
        self._seen: Tally[str] = Tally()

    def watch(self, cache: Cache) -> None:
        """Report this cache's counts, too."""
        self._cache = cache

    def watch_redis(self, redis: Redis) -> None:
        """Report these connections' counts, too."""
        self._redis = redis

    def watch_load(self, rows: Callable[[], int], waiting: Mapping[str, Callable[[], int]]) -> None:
        """Report how many rows are in flight and, for each hop, how much waits, too."""
        self._rows, self._waiting = rows, waiting

    def flush(self) -> None:
        """Write all counts."""
        if self._cache is not None:
            self._flush_cache(self._cache)
        if self._redis is not None:
            self._flush_redis(self._redis)
        if self._rows is not None:
            instruments.IN_FLIGHT_ROWS.set(self._rows())
        for hop, waiting in self._waiting.items():
            instruments.WAITING.labels(hop).set(waiting())

    def _flush_cache(self, cache: Cache) -> None:
        counted = {
            "hit": (instruments.CACHE_LOOKUPS.labels("hit"), cache.hits),
            "miss": (instruments.CACHE_LOOKUPS.labels("miss"), cache.misses),
            "eviction": (instruments.CACHE_EVICTIONS, cache.evictions),
            "invalidation": (instruments.CACHE_INVALIDATIONS, cache.invalidations),
        }
        self._advance(counted)
        for entity, rows in cache.entries.items():
            instruments.CACHE_ROWS.labels(entity).set(rows)
        instruments.CACHE_BYTES.set(cache.bytes_held)
        for entity, seconds in cache.changed_s_ago.items():
            instruments.FEATURE_AGE_SECONDS.labels(entity).set(seconds)
        instruments.CACHE_KEEPING.set(cache.keeping)

    def _flush_redis(self, redis: Redis) -> None:
        counted = {
            "opened": (instruments.REDIS_CONNECTIONS, redis.opened),
            "opening": (instruments.REDIS_BREAKER_OPENINGS, redis.breaker.openings),
        }
        counted |= {kind: (instruments.REDIS_FAILURES.labels(kind), redis.failures[kind]) for kind in get_args(Failure)}
        self._advance(counted)
        instruments.REDIS_BREAKER_OPEN.set(redis.breaker.is_open)

    def _advance(self, counted: dict[str, tuple[Counter, int]]) -> None:
        """Bring counters up to totals that are counted elsewhere."""
        for name, (counter, total) in counted.items():
            counter.inc(total - self._seen[name])
            self._seen[name] = total
