"""Metrics recorder: notes what happens in one worker, and writes it to the Prometheus objects.

In multi-process mode a single observation costs some microseconds (a system call, a lock and two writes to a mapped
file), so a request only notes what happened, and the notes are written together, once a second and before the
worker's own `/metrics` is read.
"""

from __future__ import annotations

import math
from collections import Counter as Tally
from typing import Any, Literal, TypeVar

import numpy as np
from prometheus_client import Counter

from ranker.errors import DeadlineExceeded, ModelError, RunnerUnavailable, StoreUnavailable
from ranker.ranking.answer import Answer
from ranker.ranking.timings import Timings
from ranker.telemetry.metrics import instruments
from ranker.telemetry.metrics.instruments import BulkHistogram
from ranker.telemetry.metrics.sources import Sources
from ranker.vectors.rows import Rows, RowStatus

FLUSH_INTERVAL_S = 1.0
GENERATIONS = 3
"""Generations of Python's garbage collector."""
_STAGES = Timings._fields
_UNUSABLE = (RowStatus.MISSING, RowStatus.WRONG_SCHEMA, RowStatus.CORRUPT)
_Note = TypeVar("_Note")


class Recorder:
    """Notes what happens in one worker, and writes it to the Prometheus objects when asked."""

    def __init__(self) -> None:
        self.sources = Sources()
        """Counts that are kept elsewhere in the worker, and written with the notes."""
        self._stages: list[Timings] = []
        self._outcomes: Tally[str] = Tally()
        self._degraded: Tally[str] = Tally()
        self._unusable: Tally[tuple[str, str]] = Tally()
        self._context_defaults: Tally[tuple[str, str]] = Tally()
        self._context_rounded: Tally[str] = Tally()
        self._failures: Tally[str] = Tally()
        self._models: Tally[str] = Tally()
        self._shadow: Tally[str] = Tally()
        self._nan_scores = self._infinite_scores = self._slow = 0
        self._products: list[float] = []
        self._hops: dict[str, tuple[list[float], list[float]]] = {"fetch": ([], []), "score": ([], [])}
        self._prepared: list[tuple[float, int]] = []
        self._loop_lags: list[float] = []
        self._gc_pauses: tuple[list[float], ...] = tuple([] for _ in range(GENERATIONS))
        self._correlations: list[float] = []
        self._overlaps: list[float] = []
        self._counted: tuple[tuple[Counter, Tally[Any]], ...] = (
            (instruments.REQUESTS, self._outcomes),
            (instruments.DEGRADED, self._degraded),
            (instruments.FAILURES, self._failures),
            (instruments.UNUSABLE_ROWS, self._unusable),
            (instruments.CONTEXT_DEFAULTS, self._context_defaults),
            (instruments.CONTEXT_ROUNDED, self._context_rounded),
            (instruments.MODEL_REQUESTS, self._models),
            (instruments.SHADOW_REQUESTS, self._shadow),
        )
        self._observed: tuple[tuple[BulkHistogram, list[float]], ...] = (
            (instruments.REQUEST_PRODUCTS, self._products),
            (instruments.LOOP_LAG_SECONDS, self._loop_lags),
            (instruments.SHADOW_RANK_CORRELATION, self._correlations),
            (instruments.SHADOW_TOP_K_OVERLAP, self._overlaps),
            *((instruments.MERGED_REQUESTS.labels(hop), requests) for hop, (requests, _) in self._hops.items()),
            *((instruments.MERGED_ROWS.labels(hop), rows) for hop, (_, rows) in self._hops.items()),
            *((instruments.GC_PAUSE_SECONDS.labels(str(i)), pauses) for i, pauses in enumerate(self._gc_pauses)),
        )
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
        self._prepared.append((seconds, rows))

    def loop_lag(self, seconds: float) -> None:
        """Note by how much the event loop was late."""
        self._loop_lags.append(seconds)

    def gc_pause(self, generation: int, seconds: float) -> None:
        """Note one garbage collection."""
        self._gc_pauses[generation].append(seconds)

    def flush(self) -> None:
        """Write all notes."""
        if stages := _taken(self._stages):
            for stage, seconds in zip(_STAGES, np.array(stages).T, strict=True):
                instruments.STAGE_SECONDS.labels(stage).observe_many(seconds)
        prepared = _taken(self._prepared)
        instruments.PREPARE_SECONDS.observe_many([seconds for seconds, _ in prepared])
        instruments.PREPARED_ROWS.inc(sum(rows for _, rows in prepared))
        for histogram, values in self._observed:
            histogram.observe_many(_taken(values))
        for counter, tally in self._counted:
            for key, count in tally.items():
                counter.labels(*((key,) if isinstance(key, str) else key)).inc(count)
            tally.clear()
        instruments.NAN_SCORES.inc(self._nan_scores)
        instruments.INFINITE_SCORES.inc(self._infinite_scores)
        instruments.SLOW_REQUESTS.inc(self._slow)
        self._nan_scores = self._infinite_scores = self._slow = 0
        self.sources.flush()

    def _rows(self, entity: str, rows: Rows) -> None:
        for status in _UNUSABLE:
            if count := int((rows.statuses == status).sum()):
                self._unusable[entity, status.name.lower()] += count

    def _hop(self, hop: str, requests: int, rows: int) -> None:
        noted = self._hops[hop]
        noted[0].append(requests)
        noted[1].append(rows)


def _taken(notes: list[_Note]) -> list[_Note]:
    """Take the notes of a list; those that another thread appends meanwhile stay for the next time."""
    taken = notes[:]
    del notes[: len(taken)]
    return taken


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
