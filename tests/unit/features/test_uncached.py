"""What a store without memory says and reads."""

from __future__ import annotations

import numpy as np
import pytest
from redis import Redis

from ranker.features.reader import ReadRows
from ranker.features.store import RedisStore
from ranker.features.uncached import UncachedStore
from ranker.redis.connect import connect
from ranker.scheduling.batching import Call
from ranker.vectors.rows import ProductId, RowStatus, Unread, UserId
from tests.support.groups import SCHEMA as GROUPED
from tests.support.sample import SCHEMA, product_vector, run, user_vector
from tests.support.unread import REASON, without

U, PRODUCTS = UserId("u"), [ProductId("a"), ProductId("b"), ProductId("c")]


def test_nothing_is_held_fresh_or_remembered_and_all_is_read_in_one_call(redis_client: Redis, redis_url: str) -> None:
    redis_client.mset({"user:u": user_vector(1.0), "product:a": product_vector(2.0)})

    async def test() -> None:
        store = UncachedStore(RedisStore(connect(redis_url, size=1, timeout_s=10), SCHEMA), SCHEMA)
        await store.open()
        assert store.held([(U, PRODUCTS), (U, PRODUCTS[:1])]) == [None, None]
        np.testing.assert_array_equal(store.fresh(U, PRODUCTS), np.zeros(4, np.bool_), strict=True)
        remembered = store.remembered(U, PRODUCTS)
        assert remembered.user.statuses.tolist() == [RowStatus.UNREAD]
        assert remembered.products.statuses.tolist() == 3 * [RowStatus.UNREAD]
        assert (remembered.user.values.shape, remembered.products.values.shape) == ((1, 2), (3, 3))
        found = await store.fetch(U, PRODUCTS)
        assert (found.held, found.unread) == (0, None)
        assert found.reading is not None
        assert (found.reading.requests, found.reading.keys) == (1, 4)
        assert 0 <= found.reading.decode_s < 60
        assert found.products.statuses.tolist() == [RowStatus.FOUND, RowStatus.MISSING, RowStatus.MISSING]
        await store.close()

    run(test)


def test_nobodys_request_says_how_it_was_read_and_counts_no_hits(redis_client: Redis, redis_url: str) -> None:
    redis_client.mset({"product:a": product_vector(2.0)})

    async def test() -> None:
        store = UncachedStore(RedisStore(connect(redis_url, size=1, timeout_s=10), SCHEMA), SCHEMA)
        await store.open()
        assert (store.hits, store.misses, store.products.ttl_s) == (0, 0, 0)
        found = await store.fetch(None, PRODUCTS)
        assert (found.held, found.unread, found.user.values.tolist()) == (0, None, [[0, 1.5]])
        assert found.reading is not None
        assert (found.reading.requests, found.reading.keys) == (1, 3)
        await store.close()

    run(test)


def test_row_that_a_node_does_not_give_is_said_to_be_unread(redis_url: str) -> None:
    async def test() -> None:
        rows = RedisStore(connect(redis_url, size=1, timeout_s=10), SCHEMA)
        store = UncachedStore(rows, SCHEMA)

        async def read(ids: list[str], requests: int = 1) -> ReadRows:
            return rows.products.decode(ids, [Unread("a node is down")] * len(ids), Call(1, len(ids)))

        rows.products.read = read  # type: ignore[method-assign,assignment]  # as a Cluster answers in part
        found = await store.fetch(None, PRODUCTS)
        assert found.unread == "a node is down"
        assert found.products.statuses.tolist() == 3 * [RowStatus.UNREAD]
        await store.close()

    run(test)


@pytest.mark.parametrize(("prefix", "of_user", "of_products"), [("user:", True, False), ("product:", False, True)])
def test_users_request_says_whichever_of_its_rows_is_unread(
    prefix: str, of_user: bool, of_products: bool, redis_client: Redis, redis_url: str
) -> None:
    redis_client.mset({"user:u": user_vector(1.0)} | {f"product:{name}": product_vector(2.0) for name in PRODUCTS})

    async def test() -> None:
        store = UncachedStore(RedisStore(without(redis_url, prefix), SCHEMA), SCHEMA)
        found = await store.fetch(U, PRODUCTS)
        assert found.unread == REASON
        assert found.user.statuses.tolist() == [RowStatus.UNREAD if of_user else RowStatus.FOUND]
        assert found.products.statuses.tolist() == 3 * [RowStatus.UNREAD if of_products else RowStatus.FOUND]
        await store.close()

    run(test)


def test_rows_of_groups_live_for_no_time(redis_url: str) -> None:
    async def test() -> None:
        store = UncachedStore(RedisStore(connect(redis_url, size=1, timeout_s=10), GROUPED), GROUPED)
        assert {name: group.ttl_s for name, group in store.groups.items()} == dict.fromkeys(GROUPED.keyed, 0)
        await store.close()

    run(test)
