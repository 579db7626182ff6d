"""A worker with a shadow and a canary, over a real Redis; the models are functions, slow or broken as a test likes."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic, sleep

import numpy as np
import pytest
from prometheus_client import REGISTRY
from redis import Redis

from ranker.api.predict import PredictRequest
from ranker.errors import ModelFailed
from ranker.ranking.rounds.later_scores import ScoreMatrix
from ranker.scoring.scorer import Scorer
from ranker.serving.shadow import QUEUE
from ranker.serving.variant import ServedModel
from ranker.serving.worker import Worker
from ranker.settings.environment import Settings
from ranker.telemetry.metrics import Recorder
from ranker.vectors.rows import Matrix, Scores
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import encode
from tests.support.sample import eventually, run
from tests.support.serving import started

MAIN = FeatureSchema.from_mapping({"user": {"features": ["age"]}, "product": {"features": ["price"]}})
OTHER = FeatureSchema.from_mapping(
    {
        "user": {"key": "v2:user:{id}", "features": ["age", "spend"]},
        "product": {"key": "v2:product:{id}", "features": ["price", "stock", "brand"]},
    }
)
PRODUCTS = [str(i) for i in range(12)]
REQUEST = PredictRequest(requestId="r", userId="u", productIds=PRODUCTS)


def asked_by(user: str | None, request_id: str = "r") -> PredictRequest:
    return PredictRequest(requestId=request_id, userId=user, productIds=PRODUCTS)


async def last_column(matrix: Matrix) -> Scores:
    return matrix[:, -1].copy()


async def broken(matrix: Matrix) -> Scores:
    raise ModelFailed(len(matrix), "it always does")


async def surprising(_: Matrix) -> Scores:
    raise ZeroDivisionError


def slow(matrix: Matrix) -> Scores:
    sleep(0.3)
    return matrix[:, -1].copy()


@pytest.fixture
def filled(redis_client: Redis) -> Redis:
    """Each model's own keys: prices rise with the id, brands fall."""
    rising = np.arange(12, dtype=np.float32)
    for schema, name, rows in (
        (MAIN, "user:u", np.ones((1, 1))),
        (OTHER, "v2:user:u", np.ones((1, 2))),
    ):
        redis_client.set(name, encode(rows, schema.fingerprint)[0])
    for i, vector in enumerate(encode(rising[:, np.newaxis], MAIN.fingerprint)):
        redis_client.set(f"product:{i}", vector)
    for i, vector in enumerate(encode(np.column_stack([rising, rising, -rising]), OTHER.fingerprint)):
        redis_client.set(f"v2:product:{i}", vector)
    return redis_client


@asynccontextmanager
async def working(
    url: str, canary: ScoreMatrix | None = None, shadow: ScoreMatrix | None = None, **settings: object
) -> AsyncIterator[Worker]:
    read = Settings.model_validate({"redis_url": url, "canary_model": "b:2", "shadow_model": "b:2"} | settings)
    worker = Worker(
        read,
        ServedModel("a:1", MAIN, last_column),
        ServedModel("b:2", OTHER, canary) if canary else None,
        ServedModel("b:2", OTHER, shadow) if shadow else None,
    )
    async with started(worker) as ready:
        yield ready


def counted(worker: Worker, name: str, **labels: str) -> float:
    worker.recorder.flush()
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.parametrize("cache_mb", [0, 8])
def test_canary_ranks_with_its_own_keys_for_its_users_alone(filled: Redis, redis_url: str, cache_mb: int) -> None:
    async def test() -> None:
        for percent, model, first in ((0, "a:1", "11"), (100, "b:2", "0")):
            settings = {"canary_percent": percent, "cache_mb": cache_mb}
            async with working(redis_url, last_column, **settings) as worker:
                before = counted(worker, "ranker_model_requests_total", model=model)
                answer = await worker.rank(REQUEST)
                assert (answer.ranking[0], answer.missing, answer.degraded_reason) == (first, [], None)
                assert worker.model_for(REQUEST) == model
                worker.observer.answered({}, REQUEST, answer, monotonic())
                assert counted(worker, "ranker_model_requests_total", model=model) == before + 1

    run(test, seconds=60)


def test_requests_of_nobody_are_shared_out_by_their_own_ids(filled: Redis, redis_url: str) -> None:
    async def test() -> None:
        async with working(redis_url, last_column, canary_percent=50) as worker:
            models = [worker.model_for(asked_by(None, f"r{i}")) for i in range(100)]
            assert 30 < models.count("b:2") < 70
            assert models == [worker.model_for(asked_by(None, f"r{i}")) for i in range(100)]

    run(test, seconds=60)


def test_refusal_of_the_canarys_keys_degrades_the_canary_alone(filled: Redis, redis_url: str) -> None:
    filled.execute_command("ACL", "SETUSER", "narrow", "on", ">secret", "%R~user:*", "%R~product:*", "+@all")
    url = redis_url.replace("unix://", "unix://narrow:secret@")

    async def test() -> None:
        settings = {"canary_percent": 50, "cache_mb": 0}
        async with working(url, last_column, **settings) as worker:
            users = {worker.model_for(asked_by(f"u{i}")): f"u{i}" for i in range(100)}
            for _ in range(3):
                for model, degraded in (("b:2", "features_unavailable"), ("a:1", None)):
                    request = REQUEST.model_copy(update={"userId": users[model]})
                    assert (await worker.rank(request)).degraded_reason == degraded

    try:
        run(test, seconds=60)
    finally:
        filled.execute_command("ACL", "DELUSER", "narrow")


def test_shadow_is_compared_over_its_own_keys(filled: Redis, redis_url: str) -> None:
    async def test() -> None:
        async with working(redis_url, shadow=last_column, shadow_percent=100) as worker:
            names = ("ranker_shadow_rank_correlation_sum", "ranker_shadow_top_k_overlap_sum")
            before = [counted(worker, name) for name in names]
            compared = counted(worker, "ranker_shadow_requests_total", outcome="compared")
            answer = await worker.rank(REQUEST.model_copy(update={"topK": 2}))
            assert answer.ranking == ["11", "10"]
            await eventually(
                lambda: counted(worker, "ranker_shadow_requests_total", outcome="compared") == compared + 1, 20
            )
            after = [counted(worker, name) for name in names]
            assert after[0] - before[0] == pytest.approx(-1)  # over all products, though two were asked for
            assert after[1] - before[1] == 0

    run(test, seconds=60)


def test_nothing_is_sampled_at_zero_percent(filled: Redis, redis_url: str) -> None:
    async def test() -> None:
        async with working(redis_url, shadow=last_column, shadow_percent=0) as worker:
            for _ in range(20):
                await worker.rank(REQUEST)
            assert worker._rollout.shadow is not None
            assert worker._rollout.shadow._queue.empty()

    run(test, seconds=60)


@pytest.mark.parametrize("model", [broken, surprising])
def test_failing_shadow_is_counted_and_never_felt(
    filled: Redis, redis_url: str, model: ScoreMatrix, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with working(redis_url, shadow=model, shadow_percent=100) as worker:
            before = counted(worker, "ranker_shadow_requests_total", outcome="failed")
            for _ in range(5):
                answer = await worker.rank(REQUEST)
                assert (answer.degraded_reason, answer.ranking[0]) == (None, "11")
            await eventually(
                lambda: counted(worker, "ranker_shadow_requests_total", outcome="failed") == before + 5, 20
            )

    run(test, seconds=60)
    assert sum("could not rank a request" in record.message for record in caplog.records) == 1


def test_shadow_leaves_no_notes_behind(filled: Redis, redis_url: str) -> None:
    def noted() -> int:
        gc.unfreeze()  # a worker that has warmed up hides what there is
        recorders = [one for one in gc.get_objects() if isinstance(one, Recorder)]
        hops = [notes for one in recorders for lists in one._hops.values() for notes in lists]
        return sum(map(len, hops))

    async def test() -> None:
        async with working(redis_url, shadow=last_column, shadow_percent=100, cache_mb=0) as worker:
            compared = counted(worker, "ranker_shadow_requests_total", outcome="compared")
            before = noted()
            for _ in range(5):
                await worker.rank(REQUEST)
            await eventually(
                lambda: counted(worker, "ranker_shadow_requests_total", outcome="compared") == compared + 5, 20
            )
            assert noted() == before  # `counted` has written the worker's own

    run(test, seconds=60)


def test_slow_shadow_drops_what_it_has_no_room_for_and_delays_nobody(filled: Redis, redis_url: str) -> None:
    scorer = Scorer(slow, background=True)

    async def test() -> None:
        async with working(redis_url, shadow=scorer.begin, shadow_percent=100) as worker:
            before = counted(worker, "ranker_shadow_requests_total", outcome="dropped")
            requests, began = QUEUE + 30, monotonic()
            for _ in range(requests):
                answer = await worker.rank(REQUEST)
                assert answer.degraded_reason is None
                await asyncio.sleep(0)  # lets the shadow go on
            # One at a time, they would have waited for half a minute.
            assert monotonic() - began < 0.3 * requests / 3
            assert counted(worker, "ranker_shadow_requests_total", outcome="dropped") - before >= 20

    try:
        run(test, seconds=60)
    finally:
        scorer.close()
