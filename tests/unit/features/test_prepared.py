"""Prepared rows over a real Redis: whatever a store returns, prepared columns are those of the features beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from redis import Redis

from ranker.features.near_cache.arena import ENTRY_BYTES
from ranker.features.prepared import Preparer
from ranker.features.store import RedisStore
from ranker.features.uncached import UncachedStore
from ranker.ranking.gathering import FeatureStore
from ranker.redis.connect import connect
from ranker.scoring.split.preparation import Preparation
from ranker.scoring.split.product_part import ProductPart
from ranker.vectors.rows import Features, Matrix, ProductId, RowStatus, UserId
from tests.support.near_cache import near
from tests.support.sample import SCHEMA, eventually, product_vector, run, user_vector
from tests.support.splits import BOOKS, cut_mlp, cut_towers

WIDTH = SCHEMA.product.width
PART = ProductPart(cut_mlp(SCHEMA).parts, SCHEMA)
EMBEDDING = ProductPart(cut_towers(SCHEMA).parts, SCHEMA)


def plain(url: str, preparer: Preparer) -> UncachedStore:
    return UncachedStore(RedisStore(connect(url, size=2, timeout_s=2.0), SCHEMA), SCHEMA, preparer)


def cached(url: str, preparer: Preparer) -> FeatureStore:
    return near(url, preparer=preparer)


def tiny(url: str, preparer: Preparer) -> FeatureStore:
    return near(url, size_bytes=1500, preparer=preparer)


STORES = (plain, cached, tiny)


def ids(names: str) -> list[ProductId]:
    return [ProductId(name) for name in names]


def refuse_difference(features: Features, part: ProductPart) -> None:
    """Prepare the features again, and compare."""
    rows = features.products
    found = rows.statuses == RowStatus.FOUND
    expected = part.prepare(rows.values[found, :WIDTH])
    np.testing.assert_array_equal(rows.values[found][:, -part.width :], expected)


@pytest.mark.parametrize("make", STORES)
def test_products_of_nobodys_request_are_prepared(
    make: Callable[..., FeatureStore], redis_client: Redis, redis_url: str
) -> None:
    async def test() -> None:
        preparer = Preparer(WIDTH, Preparation(PART))
        store = make(redis_url, preparer)
        await store.open()
        redis_client.mset({"product:a": product_vector(1), "product:b": product_vector(2)})
        try:
            features = await store.fetch(None, ids("bxa"))
            assert features.products.values.shape == (3, preparer.width)
            assert features.products.values[[0, 2], 0].tolist() == [2, 1]
            refuse_difference(features, PART)
            assert not features.products.complete
            assert (await store.fetch(None, ids("ba"))).products.complete
        finally:
            await store.close()

    run(test)


@pytest.mark.parametrize("make", STORES)
def test_prepared_columns_lie_behind_the_features_that_they_are_of(
    make: Callable[..., FeatureStore], redis_client: Redis, redis_url: str
) -> None:
    async def test() -> None:
        store = make(redis_url, Preparer(WIDTH, Preparation(PART)))
        await store.open()
        for name, value in zip("abcdef", range(6), strict=True):
            redis_client.set(f"product:{name}", product_vector(value))
        redis_client.set("user:u", user_vector(3))
        try:
            for _ in range(2):
                features = await store.fetch(UserId("u"), ids("caxb"))
                assert features.products.values[[0, 1, 3], 0].tolist() == [2, 0, 1]
                assert features.products.statuses.tolist() == [0, 0, RowStatus.MISSING, 0]
                assert features.user.values.tolist() == [[3, 3]]
                assert features.products.values.shape == (4, 4 + PART.width)  # 3 features, and one to be even
                refuse_difference(features, PART)
                refuse_difference(await store.fetch(UserId("u"), ids("fedcba")), PART)
                unknown = store.remembered(UserId("u"), ids("zy"))
                assert unknown.products.values.shape == (2, 4 + PART.width)
        finally:
            await store.close()

    run(test)


@pytest.mark.parametrize("make", [cached, tiny])
def test_changed_product_is_prepared_anew(
    make: Callable[..., FeatureStore], redis_client: Redis, redis_url: str
) -> None:
    async def test() -> None:
        store = make(redis_url, Preparer(WIDTH, Preparation(PART)))
        await store.open()
        redis_client.set("product:a", product_vector(1))
        redis_client.set("product:b", product_vector(2))
        try:
            await eventually(lambda: store.keeping)
            for value in (3.0, 4.0):
                await store.fetch(UserId("u"), ids("ab"))
                told = store.invalidations
                redis_client.set("product:a", product_vector(value))
                await eventually(lambda told=told: store.invalidations > told)
                features = await store.fetch(UserId("u"), ids("ab"))
                assert features.products.values[:, 0].tolist() == [value, 2]
                refuse_difference(features, PART)
                (held,) = store.held([(UserId("u"), ids("a"))])
                if held is not None:
                    refuse_difference(held, PART)
        finally:
            await store.close()

    run(test)


class Gated(Preparation):
    """One that waits."""

    def __init__(self, part: ProductPart) -> None:
        super().__init__(part)
        self.gate = asyncio.Event()
        self.begun = 0

    async def prepare(self, products: Matrix) -> tuple[Matrix, dict[int, str]]:
        self.begun += 1
        await self.gate.wait()
        return await super().prepare(products)


def test_product_that_changes_while_it_is_prepared_is_not_kept(redis_client: Redis, redis_url: str) -> None:
    async def test() -> None:
        preparation = Gated(PART)
        store = near(redis_url, preparer=Preparer(WIDTH, preparation))
        await store.open()
        await eventually(lambda: store.keeping)
        redis_client.set("product:a", product_vector(1))
        try:
            first = asyncio.ensure_future(store.fetch(UserId("u"), ids("a")))
            await eventually(lambda: preparation.begun == 1)
            told = store.invalidations
            redis_client.set("product:a", product_vector(2))
            await eventually(lambda: store.invalidations > told)
            second = asyncio.ensure_future(store.fetch(UserId("u"), ids("a")))
            await eventually(lambda: preparation.begun == 2)
            preparation.gate.set()
            for asked, value in ((first, 1), (second, 2)):
                features = await asked
                assert features.products.values[:, 0].tolist() == [value]
                refuse_difference(features, PART)
            (held,) = store.held([(UserId("u"), ids("a"))])
            assert held is not None
            assert held.products.values[:, 0].tolist() == [2]
            refuse_difference(held, PART)
        finally:
            await store.close()

    run(test)


def test_reads_of_products_that_are_prepared_are_for_so_many_requests_as_asked(
    redis_client: Redis, redis_url: str
) -> None:
    async def test() -> None:
        store = cached(redis_url, Preparer(WIDTH, Preparation(PART)))
        await store.open()
        try:
            for features in await asyncio.gather(*[store.fetch(None, ids(name)) for name in "abc"]):
                assert features.reading is not None
                assert (features.reading.requests, features.reading.keys) == (3, 3)
        finally:
            await store.close()

    run(test)


@pytest.mark.parametrize("user", [UserId("u"), None])
@pytest.mark.parametrize("make", STORES)
def test_product_that_cannot_be_prepared_counts_as_missing_and_its_neighbours_do_not(
    make: Callable[..., FeatureStore],
    user: UserId | None,
    redis_client: Redis,
    redis_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        store = make(redis_url, Preparer(WIDTH, Preparation(EMBEDDING)))
        await store.open()
        for name, value in zip("abcd", (1, BOOKS + 5, 3, BOOKS + 6), strict=True):
            redis_client.set(f"product:{name}", product_vector(value))
        try:
            for _ in range(2):
                features = await store.fetch(user, ids("axbcd"))
                found, missing, corrupt = RowStatus.FOUND, RowStatus.MISSING, RowStatus.CORRUPT
                assert features.products.statuses.tolist() == [found, missing, corrupt, found, corrupt]
                assert not features.products.complete
                refuse_difference(features, EMBEDDING)
                some = await store.fetch(user, ids("abc"))  # none of which is missing
                assert some.products.statuses.tolist() == [found, corrupt, found]
        finally:
            await store.close()

    run(test)
    (said,) = [r.getMessage() for r in caplog.records if "cannot take" in r.getMessage()]
    assert "2 product vector(s)" in said
    assert "'b'" in said
    assert f"idx={BOOKS + 5}" in said


def test_cache_counts_prepared_columns_in_the_memory_that_it_may_take(redis_client: Redis, redis_url: str) -> None:
    async def test() -> None:
        store = near(redis_url, size_bytes=1 << 16, preparer=Preparer(WIDTH, Preparation(PART)))
        await store.open()
        await eventually(lambda: store.keeping)
        try:
            await store.fetch(UserId("u"), [ProductId(str(i)) for i in range(1000)])
            row_bytes = 4 * (4 + PART.width) + ENTRY_BYTES
            assert store.entries["product"] == (1 << 16) * 3 // 4 // row_bytes
            assert store.bytes_held <= 1 << 16
            assert store.prepared_bytes_held == store.entries["product"] * 4 * (1 + PART.width)
        finally:
            await store.close()

    run(test)
