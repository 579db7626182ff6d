"""A store with the rows of its schema's groups: opened for a test, fetched from, and asked what is held."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ranker.features.groups.grouped import GroupedRows
from ranker.features.near_cache.cache import CachedStore
from ranker.features.store import RedisStore
from ranker.features.uncached import UncachedStore
from ranker.redis.connect import connect
from ranker.vectors.rows import Ask, Features
from ranker.vectors.schema import FeatureSchema
from tests.support.sample import run

Store = CachedStore | UncachedStore


def uncached(url: str, schema: FeatureSchema) -> UncachedStore:
    """A store that keeps nothing."""
    return UncachedStore(RedisStore(connect(url, size=2, timeout_s=2.0), schema), schema)


def with_store(
    make: Callable[[str, FeatureSchema], Store],
    url: str,
    schema: FeatureSchema,
    test: Callable[[Store, GroupedRows], Awaitable[None]],
) -> None:
    """Run a test with a store that is open, and closed afterwards."""

    async def body() -> None:
        store = make(url, schema)
        await store.open()
        try:
            await test(store, GroupedRows(schema, store))
        finally:
            await store.close()

    run(body)


async def fetch(store: Store, rows: GroupedRows, ask: Ask) -> Features:
    """What one request gets, its groups with it."""
    return await rows.fetch(ask, lambda: store.fetch(ask.user_id, ask.product_ids))


def held(store: Store, rows: GroupedRows, *asked: Ask) -> list[Features | None]:
    """What each of a round's requests gets of what is held; None where not all of it is."""
    found = store.held([(ask.user_id, ask.product_ids) for ask in asked])
    whole = rows.add_held(asked, found)
    return [features if is_whole else None for features, is_whole in zip(found, whole, strict=True)]
