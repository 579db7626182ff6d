"""What a store without memory says and reads."""

from __future__ import annotations

import numpy as np
from redis import Redis

from ranker.features.store import RedisStore
from ranker.features.uncached import UncachedStore
from ranker.redis.connect import connect
from ranker.vectors.rows import ProductId, RowStatus, UserId
from tests.support.sample import SCHEMA, product_vector, run, user_vector

U, PRODUCTS = UserId("u"), [ProductId("a"), ProductId("b"), ProductId("c")]


def test_nothing_is_held_fresh_or_remembered_and_all_is_read_in_one_call(redis_client: Redis, redis_url: str) -> None:
    redis_client.mset({"user:u": user_vector(1.0), "product:a": product_vector(2.0)})

    async def test() -> None:
        store = UncachedStore(RedisStore(connect(redis_url, size=1, timeout_s=10), SCHEMA), SCHEMA)
        await store.open()
        assert store.held([(U, PRODUCTS), (U, PRODUCTS[:1])]) == [None, None]
        np.testing.assert_array_equal(store.fresh(U, PRODUCTS), np.zeros(4, np.bool_), strict=True)
        remembered = store.remembered(U, PRODUCTS)
        assert remembered.user.statuses.tolist() == [RowStatus.MISSING]
        assert remembered.products.statuses.tolist() == 3 * [RowStatus.MISSING]
        assert (remembered.user.values.shape, remembered.products.values.shape) == ((1, 2), (3, 3))
        found = await store.fetch(U, PRODUCTS)
        assert (found.held, found.unread) == (0, None)
        assert found.reading is not None
        assert (found.reading.requests, found.reading.keys) == (1, 4)
        assert 0 <= found.reading.decode_s < 60
        assert found.products.statuses.tolist() == [RowStatus.FOUND, RowStatus.MISSING, RowStatus.MISSING]
        await store.close()

    run(test)
