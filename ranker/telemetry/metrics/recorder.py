"""Metrics recorder: notes what happens in one worker, and writes it to the Prometheus objects.

In multi-process mode a single observation costs some microseconds (a system call, a lock and two writes to a mapped
file), so a request only notes what happened, and the notes are written together, once a second and before the
worker's own `/metrics` is read.
"""

from __future__ import annotations

import math
from collections import Counter as Tally
from typing import Literal

import numpy as np

from ranker.errors import DeadlineExceeded, ModelError, RunnerUnavailable, StoreUnavailable
from ranker.ranking.answer import Answer
from ranker.ranking.timings import Timings
from ranker.telemetry.metrics import instruments
from ranker.telemetry.metrics.sources import Sources
from ranker.vectors.rows import Rows, RowStatus

FLUSH_INTERVAL_S = 1.0
_STAGES = Timings._fields
_UNUSABLE = (RowStatus.MISSING, RowStatus.WRONG_SCHEMA, RowStatus.CORRUPT)


class Recorder:
    """Notes what happens in one worker, and writes it to the Prometheus objects when asked."""

    def __init__(self) -> None:
        self._stages: list[Timings] = []
        self._products: list[int] = []
        self._outcomes: Tally[str] = Tally()
        self._degraded: Tally[str] = Tally()
        self._unusable: Tally[tuple[str, RowStatus]] = Tally()
        self._context_defaults: Tally[tuple[str, str]] = Tally()
        self._context_rounded: Tally[str] = Tally()
        self._failures: Tally[str] = Tally()
        self._nan_scores = self._infinite_scores = 0
        self._hops: dict[str, tuple[list[int], list[int]]] = {"fetch": ([], []), "score": ([], [])}
        self._prepare_s: list[float] = []
        self._prepared_rows = 0
        self._loop_lags: list[float] = []
        self._gc_pauses: dict[int, list[float]] = {}
        self._models: Tally[str] = Tally()
        self._shadow: Tally[str] = Tally()
        self._correlations: list[float] = []
        self._overlaps: list[float] = []
        self._slow = 0
        self._sources = Sources()
        self.watch = self._sources.watch
        self.watch_redis = self._sources.watch_redis
        self.watch_feature_log = self._sources.watch_feature_log
        self.watch_holdings = self._sources.watch_holdings
        self.watch_rows = self._sources.watch_rows
        self.watch_waiting = self._sources.watch_waiting
        _create_series()

    def model(self, tag: str, fingerprint: int, runner: str) -> None:
        """Say which model is served, and where it scores."""
        instruments.MODEL_INFO.labels(tag, f"{fingerprint:08x}", runner).set(1)
        instruments.MODEL_REQUESTS.labels(tag)

    def answer(self, answer: Answer, timings: Timings) -> None:
        """Note one answered request."""
        self._stages.append(timings)
        self._products.append(len(answer.row_scores))
        self._models[answer.model] += 1
        if answer.degraded_reason is None:
            self._outcomes["ok"] += 1
        else:
            self._outcomes["degraded"] += 1
            self._degraded[answer.degraded_reason] += 1
            self._failures.update(failure.kind for failure in answer.failures)
        if not answer.finite:
            self._nan_scores += int(np.count_nonzero(np.isnan(answer.row_scores)))
            self._infinite_scores += int(np.count_nonzero(np.isinf(answer.row_scores)))
        features = answer.features
        if not (features.user.complete and features.products.complete):
            self._rows("user", features.user)
            self._rows("product", features.products)
        if features.groups is not None:
            for name, rows in features.groups.items():
                if not rows.complete:
                    self._rows(name, rows)

    def error(self, error_type: str) -> None:
        """Note one request answered with an error."""
        self._outcomes[error_type] += 1

    def slow(self) -> None:
        """Note that an answer took long."""
        self._slow += 1

    def shadow(self, outcome: Literal["compared", "dropped", "failed"]) -> None:
        """Note what the shadow did with a sampled request."""
        self._shadow[outcome] += 1

    def agreement(self, correlation: float, overlap: float) -> None:
        """Note one comparison with the shadow; a correlation of NaN is none."""
        if not math.isnan(correlation):
            self._correlations.append(correlation)
        self._overlaps.append(overlap)

    def context_default(self, feature: str, reason: str, count: int) -> None:
        """Note values of a request-time feature that took its default."""
        self._context_defaults[feature, reason] += count

    def context_rounded(self, feature: str, count: int) -> None:
        """Note whole numbers of a request-time feature that float32 changed."""
        self._context_rounded[feature] += count

    def merged_fetch(self, requests: int, rows: int) -> None:
        """Note one MGET."""
        self._hop("fetch", requests, rows)

    def merged_score(self, requests: int, rows: int) -> None:
        """Note one call of the model."""
        self._hop("score", requests, rows)

    def prepared(self, seconds: float, rows: int) -> None:
        """Note one call of the model's product part; maybe in another thread, which takes turns with the loop's."""
        self._prepare_s.append(seconds)
        self._prepared_rows += rows

    def loop_lag(self, seconds: float) -> None:
        """Note by how much the event loop was late."""
        self._loop_lags.append(seconds)

    def gc_pause(self, generation: int, seconds: float) -> None:
        """Note one garbage collection."""
        self._gc_pauses.setdefault(generation, []).append(seconds)

    def flush(self) -> None:
        """Write all notes."""
        if self._stages:
            for stage, seconds in zip(_STAGES, np.array(self._stages).T, strict=True):
                instruments.STAGE_SECONDS.labels(stage).observe_many(seconds)
            self._stages.clear()
        instruments.REQUEST_PRODUCTS.observe_many(self._products)
        self._products.clear()
        for hop, (requests, rows) in self._hops.items():
            instruments.MERGED_REQUESTS.labels(hop).observe_many(requests)
            instruments.MERGED_ROWS.labels(hop).observe_many(rows)
            requests.clear()
            rows.clear()
        prepare_s, self._prepare_s = self._prepare_s, []
        instruments.PREPARE_SECONDS.observe_many(prepare_s)
        instruments.PREPARED_ROWS.inc(self._prepared_rows)
        self._prepared_rows = 0
        instruments.LOOP_LAG_SECONDS.observe_many(self._loop_lags)
        self._loop_lags.clear()
        for generation, pauses in self._gc_pauses.items():
            instruments.GC_PAUSE_SECONDS.labels(str(generation)).observe_many(pauses)
            pauses.clear()
        for outcome, count in self._outcomes.items():
            instruments.REQUESTS.labels(outcome).inc(count)
        for reason, count in self._degraded.items():
            instruments.DEGRADED.labels(reason).inc(count)
        for kind, count in self._failures.items():
            instruments.FAILURES.labels(kind).inc(count)
        for (entity, status), count in self._unusable.items():
            instruments.UNUSABLE_ROWS.labels(entity, status.name.lower()).inc(count)
        for labels, count in self._context_defaults.items():
            instruments.CONTEXT_DEFAULTS.labels(*labels).inc(count)
        for feature, count in self._context_rounded.items():
            instruments.CONTEXT_ROUNDED.labels(feature).inc(count)
        for model, count in self._models.items():
            instruments.MODEL_REQUESTS.labels(model).inc(count)
        for outcome, count in self._shadow.items():
            instruments.SHADOW_REQUESTS.labels(outcome).inc(count)
        instruments.SHADOW_RANK_CORRELATION.observe_many(self._correlations)
        self._correlations.clear()
        instruments.SHADOW_TOP_K_OVERLAP.observe_many(self._overlaps)
        self._overlaps.clear()
        instruments.NAN_SCORES.inc(self._nan_scores)
        instruments.INFINITE_SCORES.inc(self._infinite_scores)
        self._nan_scores = self._infinite_scores = 0
        instruments.SLOW_REQUESTS.inc(self._slow)
        self._slow = 0
        tallies = (self._outcomes, self._degraded, self._failures, self._unusable, self._context_defaults)
        for tally in (*tallies, self._context_rounded, self._models, self._shadow):
            tally.clear()
        self._sources.flush()

    def _rows(self, entity: str, rows: Rows) -> None:
        for status in _UNUSABLE:
            if count := int((rows.statuses == status).sum()):
                self._unusable[entity, status] += count

    def _hop(self, hop: str, requests: int, rows: int) -> None:
        noted = self._hops[hop]
        noted[0].append(requests)
        noted[1].append(rows)


def _create_series() -> None:
    """Have the series of known labels begin at zero: of one that begins at its first count, `rate` misses that."""
    for outcome in ("ok", "degraded"):
        instruments.REQUESTS.labels(outcome)
    for outcome in ("compared", "dropped", "failed"):
        instruments.SHADOW_REQUESTS.labels(outcome)
    for outcome in ("written", "dropped"):
        instruments.FEATURE_LOG_RECORDS.labels(outcome)
    for excess in ("bytes", "connections"):
        instruments.CONNECTIONS_DROPPED.labels(excess)
    for what in ("features", "scores"):
        for reason in ("unavailable", "late"):
            instruments.DEGRADED.labels(f"{what}_{reason}")
    instruments.DEGRADED.labels("no_features")
    for error in (StoreUnavailable, RunnerUnavailable, ModelError, DeadlineExceeded):
        instruments.FAILURES.labels(error.kind)
    for entity in ("user", "product"):
        for status in _UNUSABLE:
            instruments.UNUSABLE_ROWS.labels(entity, status.name.lower())
    for generation in range(3):
        instruments.GC_PAUSE_SECONDS.labels(str(generation))
