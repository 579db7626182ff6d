"""Metric sources: counts kept elsewhere in a worker (cache, Redis, load), written as they stand when the notes are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, get_args

from prometheus_client import Counter

from ranker.process.background import unforeseen
from ranker.redis.breaker import Breaker
from ranker.redis.cluster.breakers import Breakers
from ranker.redis.wire.failure import Failure
from ranker.telemetry.metrics import instruments


class CacheCounts(Protocol):
    """Counts of the near cache."""

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
    def prepared_bytes_held(self) -> int: ...
    @property
    def changed_s_ago(self) -> Mapping[str, float]: ...
    @property
    def keeping(self) -> bool: ...


class RedisCounts(Protocol):
    """Counts of the connections to Redis."""

    @property
    def opened(self) -> int: ...
    @property
    def failures(self) -> Mapping[str, int]: ...
    @property
    def breaker(self) -> Breaker | Breakers: ...


class LogCounts(Protocol):
    """Counts of the feature log."""

    @property
    def written(self) -> int: ...
    @property
    def dropped(self) -> int: ...


class HoldingCounts(Protocol):
    """Counts of what callers' connections hold."""

    bytes: int
    connections: int

    @property
    def dropped(self) -> Mapping[Any, int]: ...


class Sources:
    """Counts that one worker reports, where they are kept."""

    def __init__(self) -> None:
        self._caches: list[CacheCounts] = []
        self._redis: list[RedisCounts] = []
        self._feature_log: LogCounts | None = None
        self._holdings: HoldingCounts | None = None
        self._rows: Callable[[], int] | None = None
        self._waiting: defaultdict[str, list[Callable[[], int]]] = defaultdict(list)
        self._written: dict[Counter, int] = {}
        """Total that each counter stands at, by this worker's counts."""

    def watch_cache(self, cache: CacheCounts) -> None:
        """Report this cache's counts, too."""
        self._caches.append(cache)

    def watch_redis(self, redis: RedisCounts) -> None:
        """Report these connections' counts, too."""
        self._redis.append(redis)

    def watch_feature_log(self, log: LogCounts) -> None:
        """Report this log's counts, too."""
        self._feature_log = log

    def watch_holdings(self, holdings: HoldingCounts) -> None:
        """Report what connections hold, too."""
        self._holdings = holdings

    def watch_rows(self, rows: Callable[[], int]) -> None:
        """Report how many rows are in flight, too."""
        self._rows = rows

    def watch_waiting(self, waiting: Mapping[str, Callable[[], int]]) -> None:
        """Report how much waits at each of these hops, too."""
        for hop, count in waiting.items():
            self._waiting[hop].append(count)

    def flush(self) -> None:
        """Write all counts."""
        for task, count in unforeseen.items():
            self._advance(instruments.UNFORESEEN_ERRORS.labels(task), count)
        if self._caches:
            self._flush_caches(self._caches)
        if self._redis:
            self._flush_redis(self._redis)
        if self._feature_log is not None:
            self._advance(instruments.FEATURE_LOG_RECORDS.labels("written"), self._feature_log.written)
            self._advance(instruments.FEATURE_LOG_RECORDS.labels("dropped"), self._feature_log.dropped)
        if self._holdings is not None:
            instruments.CONNECTIONS.set(self._holdings.connections)
            instruments.BUFFERED_BYTES.set(self._holdings.bytes)
            for reason, count in self._holdings.dropped.items():
                self._advance(instruments.CONNECTIONS_DROPPED.labels(reason), count)
        if self._rows is not None:
            instruments.IN_FLIGHT_ROWS.set(self._rows())
        for hop, counts in self._waiting.items():
            instruments.WAITING.labels(hop).set(sum(ask() for ask in counts))

    def _flush_caches(self, caches: Sequence[CacheCounts]) -> None:
        self._advance(instruments.CACHE_LOOKUPS.labels("hit"), sum(cache.hits for cache in caches))
        self._advance(instruments.CACHE_LOOKUPS.labels("miss"), sum(cache.misses for cache in caches))
        self._advance(instruments.CACHE_EVICTIONS, sum(cache.evictions for cache in caches))
        self._advance(instruments.CACHE_INVALIDATIONS, sum(cache.invalidations for cache in caches))
        for entity in dict.fromkeys(name for cache in caches for name in cache.entries):
            instruments.CACHE_ROWS.labels(entity).set(sum(cache.entries.get(entity, 0) for cache in caches))
            if ages := [cache.changed_s_ago[entity] for cache in caches if entity in cache.changed_s_ago]:
                instruments.FEATURE_AGE_SECONDS.labels(entity).set(min(ages))
        instruments.CACHE_BYTES.set(sum(cache.bytes_held for cache in caches))
        instruments.CACHE_PREPARED_BYTES.set(sum(cache.prepared_bytes_held for cache in caches))
        instruments.CACHE_KEEPING.set(all(cache.keeping for cache in caches))

    def _flush_redis(self, connections: Sequence[RedisCounts]) -> None:
        self._advance(instruments.REDIS_CONNECTIONS, sum(redis.opened for redis in connections))
        self._advance(instruments.REDIS_BREAKER_OPENINGS, sum(redis.breaker.openings for redis in connections))
        for kind in get_args(Failure):
            self._advance(instruments.REDIS_FAILURES.labels(kind), sum(redis.failures[kind] for redis in connections))
        instruments.REDIS_BREAKER_OPEN.set(any(redis.breaker.is_open for redis in connections))

    def _advance(self, counter: Counter, total: int) -> None:
        """Bring a counter up to a total that is counted elsewhere."""
        counter.inc(total - self._written.get(counter, 0))
        self._written[counter] = total
