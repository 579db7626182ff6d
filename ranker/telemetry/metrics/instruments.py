"""Instruments: every Prometheus object of Ranker, with names, labels and buckets.

The objects are module-level so that prometheus_client's multi-process mode, which BentoML sets up, keeps them in files,
over which `exposition` sums for `/metrics`. Written by `recorder`, with its `sources`, alone; tests hold the
documentation's table to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_COUNTS = tuple(float(2**i) for i in range(13))


class BulkHistogram(Histogram):
    """A histogram that takes many observations at once."""

    def observe_many(self, values: Sequence[float]) -> None:
        """Observe each value; the same as `observe` on each, at the cost of one write for each bucket."""
        if not len(values):
            return
        buckets = np.searchsorted(self._upper_bounds, values, side="left")
        for bucket, count in enumerate(np.bincount(buckets).tolist()):
            if count:
                self._buckets[bucket].inc(count)
        self._sum.inc(float(np.sum(values)))


REQUESTS = Counter("ranker_requests", "Ranking requests by outcome: ok, degraded or an error_type.", ["outcome"])
STAGE_SECONDS = BulkHistogram(
    "ranker_stage_seconds", "Seconds a request spent in a stage, waiting included.", ["stage"], buckets=_SECONDS
)
IN_FLIGHT_ROWS = Gauge(
    "ranker_in_flight_rows", "Rows of requests that were let in and are not answered yet.", multiprocess_mode="livesum"
)
WAITING = Gauge(
    "ranker_waiting",
    "What waits in a worker: requests for their turn, reads to be fetched, requests to be scored.",
    ["hop"],
    multiprocess_mode="livesum",
)
CONNECTIONS = Gauge("ranker_connections", "Connections of callers.", multiprocess_mode="livesum")
BUFFERED_BYTES = Gauge(
    "ranker_buffered_bytes", "Bytes of bodies under way and of unread answers.", multiprocess_mode="livesum"
)
CONNECTIONS_DROPPED = Counter(
    "ranker_connections_dropped",
    "Connections closed because there were too many bytes, or connections.",
    ["reason"],
)
SLOW_REQUESTS = Counter("ranker_slow_requests", "Answers that took RANKER_SLOW_MS or longer.")
MODEL_INFO = Gauge(
    "ranker_model_info",
    "1, for each model that is served.",
    ["model", "fingerprint", "runner"],
    multiprocess_mode="livemax",
)
REQUEST_PRODUCTS = BulkHistogram("ranker_request_products", "Products of a request.", buckets=_COUNTS)
MERGED_REQUESTS = BulkHistogram("ranker_merged_requests", "Requests merged into one call.", ["hop"], buckets=_COUNTS)
MERGED_ROWS = BulkHistogram("ranker_merged_rows", "Rows (or keys) of one call.", ["hop"], buckets=_COUNTS)
PREPARE_SECONDS = BulkHistogram(
    "ranker_prepare_seconds", "Seconds a call of a split model's product part took.", buckets=_SECONDS
)
PREPARED_ROWS = Counter("ranker_prepared_rows", "Products' rows prepared by a split model's product part.")
UNUSABLE_ROWS = Counter(
    "ranker_unusable_rows",
    "Vectors that were missing, wrong_schema or corrupt, by entity and reason.",
    ["entity", "reason"],
)
CONTEXT_DEFAULTS = Counter(
    "ranker_context_defaults",
    "Request-time values that took the schema's default, because they were absent or an unknown_category.",
    ["feature", "reason"],
)
CONTEXT_ROUNDED = Counter(
    "ranker_context_rounded",
    "Request-time whole numbers that are not the same in float32 (16777217), by feature.",
    ["feature"],
)
NAN_SCORES = Counter("ranker_nan_scores", "Rows for which the model returned NaN.")
INFINITE_SCORES = Counter("ranker_infinite_scores", "Rows for which the model returned infinity, of either sign.")
DEGRADED = Counter("ranker_degraded", "Degraded answers by reason.", ["reason"])
FAILURES = Counter(
    "ranker_failures",
    "What degraded answers had to do without, by the error_type that RANKER_ON_FAILURE=error gives for it.",
    ["kind"],
)
MODEL_REQUESTS = Counter("ranker_model_requests", "Requests ranked, by the model that ranked them.", ["model"])
SHADOW_REQUESTS = Counter(
    "ranker_shadow_requests", "Sampled requests by what the shadow did: compared, dropped or failed.", ["outcome"]
)
SHADOW_RANK_CORRELATION = BulkHistogram(
    "ranker_shadow_rank_correlation",
    "Spearman's rho of the shadow's scores and those of the answer.",
    # None below 0: prometheus_client would leave out the sum.
    buckets=(0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0),
)
SHADOW_TOP_K_OVERLAP = BulkHistogram(
    "ranker_shadow_top_k_overlap",
    "Share of the best 10 products, or topK, that are among the shadow's best, too.",
    buckets=tuple(i / 10 for i in range(11)),
)
FEATURE_LOG_RECORDS = Counter(
    "ranker_feature_log_records", "Sampled requests by what became of their record: written or dropped.", ["outcome"]
)
LOOP_LAG_SECONDS = BulkHistogram(
    "ranker_loop_lag_seconds", "Seconds by which the event loop of an API worker was late.", buckets=_SECONDS
)
GC_PAUSE_SECONDS = BulkHistogram(
    "ranker_gc_pause_seconds", "Seconds a garbage collection of an API worker took.", ["generation"], buckets=_SECONDS
)
CACHE_LOOKUPS = Counter("ranker_cache_lookups", "Rows looked up in the near cache, by result.", ["result"])
CACHE_EVICTIONS = Counter("ranker_cache_evictions", "Rows that gave way to others in the near cache.")
CACHE_INVALIDATIONS = Counter("ranker_cache_invalidations", "Changed keys that Redis announced.")
CACHE_ROWS = Gauge("ranker_cache_rows", "Rows held in the near cache.", ["entity"], multiprocess_mode="livesum")
CACHE_BYTES = Gauge(
    "ranker_cache_bytes", "About how much memory the rows in the near cache take.", multiprocess_mode="livesum"
)
CACHE_PREPARED_BYTES = Gauge(
    "ranker_cache_prepared_bytes",
    "How much of ranker_cache_bytes is what split models have prepared of products.",
    multiprocess_mode="livesum",
)
FEATURE_AGE_SECONDS = Gauge(
    "ranker_feature_age_seconds",
    "Seconds since Redis last announced a change of an entity's features.",
    ["entity"],
    multiprocess_mode="livemin",
)
CACHE_KEEPING = Gauge(
    "ranker_cache_keeping",
    "Workers that keep rows now; one that waits for its invalidation connection does not.",
    multiprocess_mode="livesum",
)
REDIS_CONNECTIONS = Counter("ranker_redis_connections", "Connections for reading features that were opened.")
REDIS_FAILURES = Counter(
    "ranker_redis_failures", "Exchanges with Redis that failed: timeout, connection or refusal.", ["kind"]
)
UNFORESEEN_ERRORS = Counter(
    "ranker_unforeseen_errors",
    "Exceptions that nobody foresaw, by the background task that goes on after them; the log has their traceback.",
    ["task"],
)
REDIS_BREAKER_OPENINGS = Counter(
    "ranker_redis_breaker_openings", "Times that the circuit breaker to Redis opened: Redis began to count as down."
)
REDIS_BREAKER_OPEN = Gauge(
    "ranker_redis_breaker_open",
    "Workers whose circuit breaker to Redis is open: Redis counts as down.",
    multiprocess_mode="livesum",
)
