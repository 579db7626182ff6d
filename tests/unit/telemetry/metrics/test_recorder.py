"""What is written to the Prometheus objects, and that the documentation lists them."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import REGISTRY

from ranker.http.connection.holdings import Holdings
from ranker.ranking.answer import Answer, Failure
from ranker.ranking.timings import Moments
from ranker.telemetry.metrics import Recorder
from ranker.vectors.rows import Features, Rows, RowStatus
from tests.support.metrics_table import documented, rows_of_the_code


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def answer(missing: int = 0, degraded: str | None = None) -> Answer:
    statuses = np.array([RowStatus.MISSING] * missing + [RowStatus.FOUND] * (3 - missing), np.uint8)
    products = Rows(np.zeros((3, 1), np.float32), statuses, missing == 0)
    user = Rows(np.zeros((1, 1), np.float32), np.zeros(1, np.uint8), True)
    moments = Moments(0.0, 0.00002, 0.00102, 0.00103, 0.00303, 0.0031)
    scores = np.array([1.0, np.nan, 2.0], np.float32)
    return Answer([], scores, [], degraded, Features(user, products), scores, moments, np.zeros((3, 2), np.float32))


def test_readme_lists_every_metric_with_its_type_labels_and_meaning() -> None:
    assert documented() == rows_of_the_code()


def test_stages_are_observed_as_long_as_they_were() -> None:
    recorder = Recorder()
    recorder.flush()
    stages = ("queue", "fetch", "decode", "assemble", "score", "rank", "serialise", "total")
    before = {stage: sample("ranker_stage_seconds_sum", stage=stage) for stage in stages}
    shortest = sample("ranker_stage_seconds_bucket", stage="queue", le="5e-05")
    made = answer()
    recorder.answer(made, made.timings(0.0041))
    recorder.flush()
    took = {stage: sample("ranker_stage_seconds_sum", stage=stage) - before[stage] for stage in stages}
    expected = (0.00002, 0.001, 0, 0.00001, 0.002, 0.00007, 0.001, 0.0041)
    assert took == pytest.approx(dict(zip(stages, expected, strict=True)), abs=1e-9)
    assert sample("ranker_stage_seconds_bucket", stage="queue", le="5e-05") == shortest + 1


def test_series_of_known_labels_begin_at_zero() -> None:
    Recorder().flush()
    for name, labels in (
        ("ranker_degraded_total", {"reason": "scores_late"}),
        ("ranker_degraded_total", {"reason": "no_features"}),
        ("ranker_failures_total", {"kind": "runner_unavailable"}),
        ("ranker_infinite_scores_total", {}),
        ("ranker_unusable_rows_total", {"entity": "user", "reason": "corrupt"}),
        ("ranker_requests_total", {"outcome": "degraded"}),
    ):
        assert REGISTRY.get_sample_value(name, labels) is not None


def test_what_connections_hold_is_shown_and_who_was_let_go_of_counted() -> None:
    class Connection:
        def let_go(self) -> None:
            holdings.disconnected(self)

    def shown() -> list[float]:
        recorder.flush()
        dropped = (sample("ranker_connections_dropped_total", reason=reason) for reason in ("bytes", "connections"))
        return [sample("ranker_connections"), sample("ranker_buffered_bytes"), *dropped]

    holdings = Holdings(max_bytes=100, max_connections=2, max_descriptor=1000)
    recorder = Recorder()
    recorder.sources.watch_holdings(holdings)
    *_, bytes_before, connections_before = shown()
    connections = [Connection() for _ in range(3)]
    for connection in connections:
        holdings.connected(connection, descriptor=5)
    assert shown() == [2, 0, bytes_before, connections_before + 1]
    holdings.hold(connections[1], 70)
    assert shown() == [2, 70, bytes_before, connections_before + 1]
    holdings.hold(connections[2], 40)
    assert shown() == [1, 40, bytes_before + 1, connections_before + 1]


def test_scores_that_are_no_numbers_are_counted_by_kind_whatever_is_shown_of_them() -> None:
    recorder = Recorder()
    recorder.flush()
    names = ("ranker_nan_scores_total", "ranker_infinite_scores_total")
    before = [sample(name) for name in names]
    odd = np.array([np.inf, np.nan, 1, -np.inf], np.float32)
    made = answer()._replace(scores=np.ones(1, np.float32), row_scores=odd, finite=False)  # topK shows one
    recorder.answer(made, made.timings())
    recorder.answer(made._replace(degraded_reason="features_late"), made.timings())
    recorder.flush()
    assert [sample(name) - old for name, old in zip(names, before, strict=True)] == [2, 4]


def test_failures_are_counted_by_kind() -> None:
    recorder = Recorder()
    recorder.flush()
    kinds = ("store_unavailable", "model_failed", "runner_unavailable")
    before = [sample("ranker_failures_total", kind=kind) for kind in kinds]
    failures = (Failure("store_unavailable", "Redis is down."), Failure("model_failed", "It raised."))
    made = answer(degraded="scores_unavailable")._replace(failures=failures)
    recorder.answer(made, made.timings())
    recorder.flush()
    counted = [sample("ranker_failures_total", kind=kind) - old for kind, old in zip(kinds, before, strict=True)]
    assert counted == [1, 1, 0]


def test_load_is_shown_as_it_stands() -> None:
    recorder = Recorder()
    rows, waiting = [7], {"turn": [1], "fetch": [2], "score": [3]}
    recorder.sources.watch_rows(lambda: rows[0])
    recorder.sources.watch_waiting({hop: lambda count=count: count[0] for hop, count in waiting.items()})
    recorder.flush()
    assert sample("ranker_in_flight_rows") == 7
    assert [sample("ranker_waiting", hop=hop) for hop in waiting] == [1, 2, 3]
    rows[0] = waiting["turn"][0] = 0
    recorder.flush()
    assert (sample("ranker_in_flight_rows"), sample("ranker_waiting", hop="turn")) == (0, 0)


def test_every_note_is_written_once_with_its_labels() -> None:
    recorder = Recorder()
    recorder.flush()
    expected = {
        ("ranker_requests_total", ("outcome", "ok")): 1,
        ("ranker_requests_total", ("outcome", "overloaded")): 1,
        ("ranker_request_products_sum",): 3,
        ("ranker_unusable_rows_total", ("entity", "product"), ("reason", "missing")): 2,
        ("ranker_context_defaults_total", ("feature", "context.hour"), ("reason", "absent")): 4,
        ("ranker_context_rounded_total", ("feature", "context.time")): 5,
        ("ranker_shadow_requests_total", ("outcome", "compared")): 1,
        ("ranker_shadow_rank_correlation_sum",): 0.5,
        ("ranker_shadow_top_k_overlap_sum",): 0.75,
        ("ranker_merged_requests_sum", ("hop", "fetch")): 2,
        ("ranker_merged_rows_sum", ("hop", "fetch")): 30,
        ("ranker_merged_requests_sum", ("hop", "score")): 3,
        ("ranker_merged_rows_sum", ("hop", "score")): 40,
        ("ranker_prepare_seconds_sum",): 0.25,
        ("ranker_prepared_rows_total",): 7,
        ("ranker_loop_lag_seconds_sum",): 0.125,
        ("ranker_gc_pause_seconds_sum", ("generation", "2")): 0.5,
        ("ranker_slow_requests_total",): 1,
    }

    def values() -> list[float]:
        return [sample(name, **dict(labels)) for name, *labels in expected]

    before = values()
    made = answer(missing=2)
    recorder.answer(made, made.timings())
    recorder.error("overloaded")
    recorder.context_default("context.hour", "absent", 4)
    recorder.context_rounded("context.time", 5)
    recorder.shadow("compared")
    recorder.agreement(0.5, 0.75)
    recorder.merged_fetch(2, 30)
    recorder.merged_score(3, 40)
    recorder.prepared(0.25, 7)
    recorder.loop_lag(0.125)
    recorder.gc_pause(2, 0.5)
    recorder.slow()
    for _ in range(2):
        recorder.flush()
        noted = dict(zip(expected, (now - old for now, old in zip(values(), before, strict=True)), strict=True))
        assert noted == pytest.approx(expected)
