"""Every Prometheus object of Ranker, and the two places that write them. A leaf: only `service.py` uses it.

The objects are module-level so that prometheus_client's multi-process mode, which BentoML sets up, sums them over all
workers and shows them on BentoML's `/metrics`.
"""

from __future__ import annotations

import numpy as np
from prometheus_client import Counter, Histogram

from ranker.encoding import Rows, RowStatus
from ranker.pipeline import Answer

_SECONDS = (5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_COUNTS = tuple(float(2**i) for i in range(13))

REQUESTS = Counter("ranker_requests_total", "Ranking requests by outcome: ok, degraded or an error_type.", ["outcome"])
STAGE_SECONDS = Histogram(
    "ranker_stage_seconds", "Seconds a request spent in a stage, waiting included.", ["stage"], buckets=_SECONDS
)
REQUEST_PRODUCTS = Histogram("ranker_request_products", "Products of a request.", buckets=_COUNTS)
MERGED_REQUESTS = Histogram("ranker_merged_requests", "Requests merged into one call.", ["hop"], buckets=_COUNTS)
MERGED_ROWS = Histogram("ranker_merged_rows", "Rows (or keys) of one call.", ["hop"], buckets=_COUNTS)
UNUSABLE_ROWS = Counter(
    "ranker_unusable_rows_total",
    "Vectors that were missing, wrong_schema or corrupt, by entity and reason.",
    ["entity", "reason"],
)
NAN_SCORES = Counter("ranker_nan_scores_total", "Rows for which the model returned NaN.")
DEGRADED = Counter("ranker_degraded_total", "Degraded answers by reason.", ["reason"])

# Looking a label up takes longer than adding to it.
_OK, _DEGRADED = REQUESTS.labels("ok"), REQUESTS.labels("degraded")
_FETCH, _ASSEMBLE, _SCORE, _TOTAL = (STAGE_SECONDS.labels(s) for s in ("fetch", "assemble", "score", "total"))


def observe(answer: Answer) -> None:
    """Count one answered request."""
    timings = answer.timings
    _FETCH.observe(timings.fetch)
    _ASSEMBLE.observe(timings.assemble)
    _SCORE.observe(timings.score)
    _TOTAL.observe(timings.total)
    if answer.degraded_reason is None:
        _OK.inc()
        if nan := int(np.isnan(answer.scores).sum()):
            NAN_SCORES.inc(nan)
    else:
        _DEGRADED.inc()
        DEGRADED.labels(answer.degraded_reason).inc()
    if answer.features is not None:
        REQUEST_PRODUCTS.observe(len(answer.features.products))
        _observe_rows("user", answer.features.user)
        _observe_rows("product", answer.features.products)


def observe_error(error_type: str) -> None:
    """Count one request answered with an error."""
    REQUESTS.labels(error_type).inc()


def _observe_rows(entity: str, rows: Rows) -> None:
    if rows.complete:
        return
    for status in (RowStatus.MISSING, RowStatus.WRONG_SCHEMA, RowStatus.CORRUPT):
        if count := int((rows.statuses == status).sum()):
            UNUSABLE_ROWS.labels(entity, status.name.lower()).inc(count)


class MergeObserver:
    """Told the requests and rows of each merged call of one hop (`fetch` or `score`)."""

    def __init__(self, hop: str) -> None:
        self._requests = MERGED_REQUESTS.labels(hop)
        self._rows = MERGED_ROWS.labels(hop)

    def __call__(self, requests: int, rows: int) -> None:
        self._requests.observe(requests)
        self._rows.observe(rows)
