"""A worker that serves a split model from a real store, over a real Redis: its rankings are the whole graph's.

In one process, and with a runner behind the channel, as `ranker.service` puts them together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY
from redis import Redis

from ranker.api.explain import ExplainRequest
from ranker.api.predict import PredictRequest
from ranker.features.near_cache.cache import CachedStore
from ranker.ranking.answer import Answer
from ranker.scoring.model import OnnxModel
from ranker.scoring.registry import find_model, load_model, store_model
from ranker.scoring.split.files import SplitChoice
from ranker.scoring.split.note import Note
from ranker.serving.runner import Runner, WaysToScores
from ranker.serving.worker import Worker
from ranker.settings.environment import Settings
from ranker.vectors.rows import Matrix, Scores
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import encode
from tests.support.models import temporary_model_store
from tests.support.sample import eventually, run
from tests.support.serving import serving, started
from tests.support.splits import cut_mlp, cut_trees

SCHEMA = FeatureSchema.from_mapping(
    {
        "user": {"features": ["age", {"name": "spend", "default": 1.5}]},
        "product": {"features": ["price", {"name": "stock", "default": 0.5}, "rating"]},
        "context": {"features": [{"name": "hour", "default": 0.9}]},
        "productContext": {"features": [{"name": "discount", "default": 0.1}]},
    }
)
GROUPED = FeatureSchema.from_mapping(
    SCHEMA.to_metadata()
    | {
        "groups": {
            "live": {"per": "user", "key": "live:{userId}", "format": "hash", "features": ["clicks"]},
            "stock": {"per": "product", "key": "stock:{productId}", "format": "hash", "features": ["left"]},
            "affinity": {
                "per": "product",
                "key": "affinity:{userId}:{productId}",
                "format": "hash",
                "features": ["ctr"],
            },
        }
    }
)
CUTS = {"mlp": cut_mlp, "trees": cut_trees}
USERS, PRODUCTS = 5, 600
SHAPES = ("local", "service")


@dataclass
class Stand:
    """A worker, what is stored, and what the whole graph gives for it."""

    worker: Worker
    whole: OnnxModel
    redis: Redis
    users: np.ndarray
    products: np.ndarray

    @property
    def cache(self) -> CachedStore:
        store = self.worker._rollout.main.store
        assert isinstance(store, CachedStore)
        return store

    async def rank(self, user: str, products: Sequence[str], hour: float | None = None) -> Answer:
        context = {} if hour is None else {"context": {"hour": hour}}
        discounts = {"discount": [int(name) / 600 if name.isdigit() else None for name in products]}
        request = PredictRequest(userId=user, productIds=list(products), productContext=discounts, **context)
        answer = await self.worker.rank(request)
        expected = self.whole.score(self.matrix(user, products, 0.9 if hour is None else hour))
        assert (answer.degraded_reason, answer.failures) == (None, ())
        np.testing.assert_allclose(answer.row_scores, expected, rtol=1e-5, atol=1e-5)
        assert answer.ranking == [products[i] for i in np.argsort(-answer.row_scores, kind="stable")]
        assert answer.missing == [name for name in products if not name.isdigit()]
        assert answer.missing_user is not user.isdigit()
        return answer

    def matrix(self, user: str, products: Sequence[str], hour: float) -> np.ndarray:
        schema = SCHEMA
        row = self.users[int(user)] if user.isdigit() else schema.user.defaults
        rows = []
        for name in products:
            known = name.isdigit()
            values = self.products[int(name)] if known else schema.product.defaults
            rows.append(np.concatenate([row, values, [hour], [int(name) / 600 if known else 0.1]]))
        return np.array(rows, np.float32)

    async def change(self, product: int, row: Sequence[float]) -> None:
        told = self.cache.invalidations
        self.products[product] = row
        self.redis.set(f"product:{product}", encode([row], SCHEMA.fingerprint)[0])
        await eventually(lambda: self.cache.invalidations > told)


def stock(client: Redis, users: np.ndarray, products: np.ndarray) -> None:
    for name, rows in (("user", users), ("product", products)):
        client.mset({f"{name}:{i}": vector for i, vector in enumerate(encode(rows, SCHEMA.fingerprint))})


@pytest.fixture(params=CUTS)
def tag(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with temporary_model_store(tmp_path):
        cut = CUTS[request.param](SCHEMA)
        yield store_model(cut.whole, SCHEMA, "shop", "1", split=SplitChoice(Note(rows=1), cut.parts))[0]


@asynccontextmanager
async def standing(tag: str, shape: str, url: str, client: Redis, path: Path, **given: object) -> AsyncIterator[Stand]:
    rng = np.random.default_rng(2)
    users = rng.standard_normal((USERS, 2)).astype(np.float32)
    products = rng.standard_normal((PRODUCTS, 3)).astype(np.float32)
    whole = load_model(find_model(tag)).whole
    stock(client, users, products)
    async with serving(tag, shape, url, path, **given) as worker:
        yield Stand(worker, whole, client, users, products)


def names(start: int, stop: int) -> list[str]:
    return [str(i) for i in range(start, stop)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cache_mb", [0, 8])
def test_rankings_are_the_whole_graphs_cold_held_and_mixed(
    tag: str, shape: str, cache_mb: int, redis_url: str, redis_client: Redis, short_path: Path
) -> None:
    async def test() -> None:
        asked = {"cache_mb": cache_mb, "max_batch_rows": 128}
        async with standing(tag, shape, redis_url, redis_client, short_path, **asked) as stand:
            for _ in range(2):
                await stand.rank("1", names(0, 100), 0.3)
                await stand.rank("3", ["5", "gone", "9", "lost"])
                await stand.rank("nobody", names(90, 120))
            await asyncio.gather(
                stand.rank("0", names(0, 500), -1.0),  # in pieces
                *(stand.rank(str(i), names(40 * i, 40 * i + 30), i / 7) for i in range(5)),
                stand.rank("new", [*names(300, 310), "gone"]),
            )

    run(test, seconds=60)


@pytest.mark.parametrize("shape", SHAPES)
def test_changed_product_is_ranked_by_what_it_is_now(
    tag: str, shape: str, redis_url: str, redis_client: Redis, short_path: Path
) -> None:
    async def test() -> None:
        async with standing(tag, shape, redis_url, redis_client, short_path) as stand:
            await eventually(lambda: stand.cache.keeping)
            await stand.rank("1", names(0, 50))
            for value in (3.0, -3.0, 0.5):
                await stand.change(7, [value, -value, value])
                for _ in range(2):  # read, and held
                    await stand.rank("1", names(0, 50))
                await stand.rank("2", ["7", "8"])

    run(test, seconds=60)


@pytest.mark.parametrize("shape", SHAPES)
def test_explanation_is_of_the_scores_that_ranked(
    tag: str, shape: str, redis_url: str, redis_client: Redis, short_path: Path
) -> None:
    async def test() -> None:
        async with standing(tag, shape, redis_url, redis_client, short_path) as stand:
            ids = names(0, 20)
            answer = await stand.rank("1", ids, 0.3)
            request = {"userId": "1", "productIds": ids, "context": {"hour": 0.3}}
            request |= {"productContext": {"discount": [int(name) / 600 for name in ids]}}
            explained = await stand.worker.explain(ExplainRequest(**request))
            assert explained.answer.ranking == answer.ranking
            np.testing.assert_array_equal(explained.answer.row_scores, answer.row_scores)
            np.testing.assert_array_equal(explained.matrix, stand.matrix("1", ids, 0.3))
            assert (explained.failure, len(explained.contributions)) == (None, 20)
            changed = ExplainRequest(**request, overrides={"products": {"4": {"price": 2.5}}})
            explained = await stand.worker.explain(changed)
            matrix = stand.matrix("1", ids, 0.3)
            matrix[4, 2] = 2.5
            np.testing.assert_allclose(explained.answer.row_scores, stand.whole.score(matrix), rtol=1e-5, atol=1e-5)

    run(test, seconds=60)


def test_metrics_tell_what_was_prepared_and_what_it_takes(
    tag: str, redis_url: str, redis_client: Redis, short_path: Path
) -> None:
    async def test() -> None:
        async with standing(tag, "local", redis_url, redis_client, short_path) as stand:
            await eventually(lambda: stand.cache.keeping)

            def counted(name: str) -> float:
                stand.worker.recorder.flush()
                return REGISTRY.get_sample_value(name) or 0.0

            prepared, calls = counted("ranker_prepared_rows_total"), counted("ranker_prepare_seconds_count")
            for _ in range(3):
                await stand.rank("1", names(0, 100))
            assert counted("ranker_prepared_rows_total") == prepared + 100
            assert counted("ranker_prepare_seconds_count") > calls
            assert 0 < counted("ranker_cache_prepared_bytes") < counted("ranker_cache_bytes")

    run(test, seconds=60)


@pytest.mark.parametrize("shape", SHAPES)
def test_groups_under_keys_of_their_own_are_on_the_side_that_they_are_of(
    shape: str, redis_url: str, redis_client: Redis, short_path: Path, tmp_path: Path
) -> None:
    cut = cut_trees(GROUPED)
    vectors = encode(np.random.default_rng(3).standard_normal((4, 3)).astype(np.float32), GROUPED.fingerprint)
    redis_client.mset({f"product:{name}": vector for name, vector in zip("abcd", vectors, strict=True)})
    redis_client.set("user:u", encode([[1.0, -1.0]], GROUPED.fingerprint)[0])
    redis_client.hset("live:u", "clicks", "-0.5")
    redis_client.hset("stock:a", "left", "1.5")
    redis_client.hset("affinity:u:b", "ctr", "2")
    body = {
        "productIds": ["b", "a", "gone", "c"],
        "context": {"hour": 0.7},
        "productContext": {"discount": [1, 2, 0.5, 0]},
    }

    async def test() -> None:
        answers = []
        for split in (None, SplitChoice(Note(rows=1), cut.parts)):
            tag, _ = store_model(cut.whole, GROUPED, "shop", "parts" if split else "whole", split=split)
            async with serving(tag, shape, redis_url, short_path) as worker:
                asked = [PredictRequest(userId=user, **body) for user in ("u", "u", "nobody", None)]
                answers += [await worker.rank(request) for request in asked]
        half = len(answers) // 2
        for whole, parts in zip(answers[:half], answers[half:], strict=True):
            assert (parts.ranking, parts.missing, parts.degraded_reason) == (whole.ranking, ["gone"], None)
            np.testing.assert_array_equal(parts.row_scores, whole.row_scores)
            np.testing.assert_array_equal(parts.matrix, whole.matrix)
        assert len({tuple(answer.row_scores) for answer in answers}) > 1

    with temporary_model_store(tmp_path):
        run(test, seconds=60)


def test_runner_that_is_asked_without_a_channel_gets_whole_rows_and_scores_by_the_same_parts(
    tag: str, redis_url: str, redis_client: Redis
) -> None:
    settings = Settings.model_validate({"redis_url": redis_url, "deadline_ms": 10_000, "model": tag})
    stored = find_model(tag)
    runner = Runner({"model": load_model(stored)}, settings)

    class Remote:
        """BentoML's client of the runner."""

        async def score(self, matrix: Matrix) -> Scores:
            return await runner.score("model", matrix)

    async def test() -> None:
        ways = WaysToScores(settings, "tcp://127.0.0.1:1", Remote)
        rng = np.random.default_rng(5)
        users, products = (rng.standard_normal((600, width)).astype(np.float32) for width in (2, 3))
        stock(redis_client, users, products)
        loaded = load_model(stored)
        try:
            async with started(Worker(settings, ways.served("model", stored))) as worker:
                stand = Stand(worker, loaded.whole, redis_client, users, products)
                for _ in range(2):
                    answer = await stand.rank("1", [*names(0, 40), "gone"])
                    np.testing.assert_array_equal(answer.row_scores, loaded.score(answer.matrix))
        finally:
            await runner.close()

    run(test, seconds=60)
