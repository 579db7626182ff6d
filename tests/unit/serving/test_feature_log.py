"""A worker with a feature log, over a real Redis: who ranked, with what, and that a dead log is not felt."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import numpy as np
import pytest
from redis import Redis

from ranker.errors import InvalidSettings, RunnerUnavailable
from ranker.ranking.answer import Answer
from ranker.serving import preflight, startup
from ranker.serving.worker import Worker
from ranker.settings.destination import Stream
from ranker.telemetry.feature_log.record import Record
from ranker.telemetry.feature_log.stream import read_stream
from ranker.vectors.rows import Matrix, Scores
from tests.support.sample import eventually, run
from tests.unit.serving.test_shadow import MAIN, OTHER, REQUEST, asked_by, counted, filled, last_column, working

__all__ = ["filled"]


async def served(worker: Worker, **changes: object) -> Answer:
    request = REQUEST.model_copy(update=changes)
    answer = await worker.rank(request)
    worker.observer.answered({}, request, answer, monotonic())
    return answer


def records(url: str) -> list[Record]:
    return list(read_stream(Stream(url, "served")))


def test_log_names_the_model_that_ranked_and_keeps_what_it_was_given(filled: Redis, redis_url: str) -> None:
    async def test() -> None:
        settings = {"canary_percent": 50, "feature_log": "stream:served", "feature_log_percent": 100}
        async with working(redis_url, last_column, **settings) as worker:
            before = counted(worker, "ranker_feature_log_records_total", outcome="written")
            for i in range(20):
                await served(worker, requestId=f"r{i}", userId=f"u{i}")
            await served(worker, userId="u", productIds=["3", "absent"])
            models = {user: worker.model_for(asked_by(user)) for user in ("u", *(f"u{i}" for i in range(20)))}
        assert counted(worker, "ranker_feature_log_records_total", outcome="written") == before + 21
        kept = records(redis_url)
        assert {record.user_id: record.model for record in kept} == models
        assert {record.model: (record.fingerprint, record.widths) for record in kept} == {
            "a:1": (MAIN.fingerprint, (1, 1, 0, 0)),
            "b:2": (OTHER.fingerprint, (2, 3, 0, 0)),
        }
        last = kept[-1]
        assert (last.user_status, last.product_statuses.tolist()) == (0, [0, 1])
        assert last.matrix[:, -1].tolist() == last.scores.tolist() == [3.0 if last.model == "a:1" else -3.0, 0.0]

    run(test, seconds=60)


def test_degraded_answers_are_logged_as_they_were(filled: Redis, redis_url: str) -> None:
    working_runner = True

    async def runner(matrix: Matrix) -> Scores:
        if not working_runner:
            raise RunnerUnavailable("gone")
        return await last_column(matrix)

    async def test() -> None:
        nonlocal working_runner
        settings = {"canary_percent": 100, "feature_log": "stream:served", "feature_log_percent": 100}
        async with working(redis_url, runner, **settings) as worker:
            working_runner = False
            answer = await served(worker)
            assert answer.degraded_reason == "scores_unavailable"
        (record,) = records(redis_url)
        assert record.degraded_reason == "scores_unavailable"
        assert record.ranking == REQUEST.productIds
        assert np.isnan(record.scores).all()
        assert record.matrix[:, -1].tolist() == [-float(i) for i in range(12)]  # what it would have been given

    run(test, seconds=60)


@pytest.mark.parametrize("target", ["unix:///tmp/nobody-is-here.sock?stream=a", "/proc/nowhere"])
def test_dead_log_is_counted_and_not_felt(
    filled: Redis, redis_url: str, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with working(redis_url, feature_log=target, feature_log_percent=100) as worker:
            before = counted(worker, "ranker_feature_log_records_total", outcome="dropped")
            for i in range(30):
                answer = await served(worker, requestId=f"r{i}")
                assert (answer.degraded_reason, answer.ranking[0]) == (None, "11")

            def all_dropped() -> bool:
                return counted(worker, "ranker_feature_log_records_total", outcome="dropped") == before + 30

            await eventually(all_dropped, 30)
            worker.observer.report()

    run(test, seconds=60)
    assert sum("The feature log dropped" in message for message in caplog.messages) == 1


def refusal(monkeypatch: pytest.MonkeyPatch, target: object) -> str:
    """What a start says of a log that goes there."""
    with pytest.raises(InvalidSettings) as refused:
        startup.read_settings({"RANKER_FEATURE_LOG": str(target)}, Path("/nowhere/service"))
    return str(refused.value)


def test_log_that_can_never_be_written_ends_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "RANKER_FEATURE_LOG: [Errno 20] Not a directory" in refusal(monkeypatch, tmp_path / "file" / "served")
    said = refusal(monkeypatch, "redis://:hunter2@127.0.0.1:1/0?stream=a&db=x")
    assert "RANKER_FEATURE_LOG has an option that redis-py does not take" in said
    assert "hunter2" not in said
    monkeypatch.setattr(preflight, "find_spec", {}.get)  # an installation without extras
    assert "install 'bento-ranker[files]', or write to a Redis stream" in refusal(monkeypatch, tmp_path)
    startup.read_settings({"RANKER_FEATURE_LOG": "stream:a"}, Path("/nowhere/service"))
