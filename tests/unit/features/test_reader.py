"""What an entity's reader asks for, and what it makes of the bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from redis import Redis

from ranker.features.store import RedisStore
from ranker.redis.connect import connect
from ranker.scheduling.batching import Call
from ranker.vectors.rows import RowStatus, Unread
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import encode
from tests.support.sample import SCHEMA, product_vector, run, user_vector

IDS = ["a", "b", "c"]


@asynccontextmanager
async def opened(redis_url: str, schema: FeatureSchema = SCHEMA) -> AsyncIterator[tuple[RedisStore, list[Call]]]:
    """Open a store, and note its round trips."""
    calls: list[Call] = []
    store = RedisStore(
        connect(redis_url, size=2, timeout_s=10), schema, lambda requests, rows: calls.append(Call(requests, rows))
    )
    await store.open()
    yield store, calls
    await store.close()


def test_vectors_of_an_older_schema_are_read_as_their_own_entity_had_them(redis_client: Redis, redis_url: str) -> None:
    older = {"user": {"features": ["age"]}, "product": {"features": ["price", "stock"]}}
    schema = FeatureSchema.from_mapping(
        {
            "user": {"features": ["age", {"name": "spend", "default": 1.5}]},
            "product": {"features": [{"name": "rating", "default": 4}, "price", "stock"]},
            "older": [older],
        }
    )
    before = FeatureSchema.from_mapping(older).fingerprint
    redis_client.set("user:a", encode(np.full((1, 1), 30), before)[0])
    redis_client.set("product:a", encode(np.array([[9.5, 2]]), before)[0])

    async def test() -> None:
        async with opened(redis_url, schema) as (store, _):
            user, product = await store.users.read(["a"]), await store.products.read(["a"])
        assert user.rows.values.tolist() == [[30, 1.5]]
        assert product.rows.values.tolist() == [[4, 9.5, 2]]

    run(test)


def test_a_read_counts_as_one_request_unless_it_is_for_more(redis_client: Redis, redis_url: str) -> None:
    async def test() -> None:
        async with opened(redis_url) as (store, calls):
            alone = await store.products.read(IDS)
            shared = await store.products.read(IDS, 5)
            begun = store.products.begin(IDS)
            await begun.submission
        assert calls == [(1, 3), (5, 3), (1, 3)]
        assert [(read.reading.requests, read.reading.keys) for read in (alone, shared)] == [(1, 3), (5, 3)]

    run(test)


def test_a_read_says_what_it_was_merged_with_and_how_long_its_decoding_took(
    redis_client: Redis, redis_url: str
) -> None:
    redis_client.mset({"user:u": user_vector(1), "product:a": product_vector(2)})

    async def test() -> None:
        async with opened(redis_url) as (store, calls):
            users, products = store.users.begin(["u"], 4), store.products.begin(IDS, 3)
            await asyncio.gather(users.submission.future, products.submission.future)
            found = [users.rows().reading, products.rows().reading]
        assert calls == [(7, 4)]
        for reading in found:
            assert (reading.requests, reading.keys) == (7, 4)
            assert 0 <= reading.decode_s < 60

    run(test)


def test_rows_that_could_not_be_had_leave_the_others_and_their_reason(redis_url: str) -> None:
    async def test() -> None:
        async with opened(redis_url) as (store, _):
            values = [product_vector(1), Unread("the node is down"), Unread("another reason")]
            found = store.products.decode(IDS, values, Call(1, 3))
            whole = store.products.decode(IDS[:1], values[:1], Call(1, 1))
        assert found.rows.statuses.tolist() == [RowStatus.FOUND, RowStatus.UNREAD, RowStatus.UNREAD]
        assert (found.unread, whole.unread) == ("the node is down", None)

    run(test)


def test_each_kind_of_unusable_vector_is_logged_whether_or_not_the_other_is_there(
    redis_client: Redis, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    redis_client.mset({"product:a": product_vector(1)[:-1], "product:b": encode(np.ones((1, 3)), 7)[0]})

    async def test() -> None:
        async with opened(redis_url) as (store, _):
            for ids in (["c", "a"], ["c", "a", "b"], ["b", "a"]):
                await store.products.read(ids)

    run(test)
    logged = [record.getMessage() for record in caplog.records if record.name == "ranker.store"]
    assert len(logged) == 2  # each kind once
    assert "1 product vector(s) of one request count as missing (corrupt), first: 'a'" in logged[0]
    assert "1 product vector(s) of one request count as missing (wrong_schema), first: 'b'" in logged[1]
