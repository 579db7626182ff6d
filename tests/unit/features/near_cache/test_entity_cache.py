"""What the near cache of one entity keeps of what it reads, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from ranker.features.near_cache.entity_cache import EntityCache, split_bytes
from ranker.features.reader import ReadRows
from ranker.redis.hash_slots import SLOTS, HashSlots, key_slot
from ranker.vectors.rows import Rows, RowStatus
from ranker.vectors.schema import FeatureSchema
from tests.support.sample import eventually, run

ENTITY = FeatureSchema.from_mapping(
    {
        "user": {"features": ["age"]},
        "product": {"key": "shop:{id}:v1", "features": ["price"]},
    }
).product
IDS = list("abcdef")


def key(entity_id: str) -> bytes:
    return f"shop:{entity_id}:v1".encode()


class Source:
    """Reads a price of 1 for each id, but for those that a node has which does not answer."""

    def __init__(self, dark: str = "", meanwhile: Callable[[], None] = lambda: None) -> None:
        self.dark = dark
        self.meanwhile = meanwhile

    async def __call__(self, ids: Sequence[str], requests: int) -> ReadRows:
        self.meanwhile()
        statuses = np.array([RowStatus.UNREAD if i in self.dark else RowStatus.FOUND for i in ids], np.uint8)
        rows = Rows(np.ones((len(ids), 1), np.float32), statuses, complete=not self.dark)
        return ReadRows(rows, "a node is down" if self.dark else None, None)  # type: ignore[arg-type]  # nobody asks how


def cache_of(source: Source, ttl_s: float = 60.0) -> EntityCache:
    def begin(coroutine: Coroutine[Any, Any, None]) -> object:
        return tasks.append(asyncio.ensure_future(coroutine))

    tasks: list[asyncio.Future[None]] = []
    return EntityCache(ENTITY, 1 << 16, ttl_s, source, begin)


async def look_up(cache: EntityCache, ids: Sequence[str] = IDS) -> None:
    for read in cache.lookup(ids, asyncio.get_running_loop().time()).reads:
        await read.wait()


def fresh(cache: EntityCache, after_s: float = 0.0) -> str:
    now = asyncio.get_running_loop().time() + after_s
    stale = cache.arena.stale(cache.arena.slots(IDS), now)
    return "".join(i for i, is_stale in zip(IDS, stale.tolist(), strict=True) if not is_stale)


def test_nothing_is_kept_until_someone_says_so() -> None:
    async def test() -> None:
        cache = cache_of(Source())
        await look_up(cache)
        assert len(cache.arena) == 0
        cache.keeping = True
        await look_up(cache)
        assert fresh(cache) == "abcdef"

    run(test)


@pytest.mark.parametrize("ttl_s", [0.5, 60.0])
def test_rows_are_fresh_for_their_time_to_live(ttl_s: float) -> None:
    async def test() -> None:
        cache = cache_of(Source(), ttl_s)
        cache.keeping = True
        before = asyncio.get_running_loop().time()
        await look_up(cache)
        until = cache.arena._fresh_until[cache.arena.slots(IDS)]
        assert before + ttl_s <= until.min() == until.max() <= asyncio.get_running_loop().time() + ttl_s

    run(test)


def test_rows_without_a_time_to_live_take_no_memory() -> None:
    async def test() -> None:
        cache = cache_of(Source(), ttl_s=0)
        cache.keeping = True
        await look_up(cache)
        assert len(cache.arena) == 0

    run(test)


def test_change_of_a_key_makes_its_row_stale_and_no_other() -> None:
    async def test() -> None:
        cache = cache_of(Source())
        cache.keeping = True
        await look_up(cache)
        for other in (b"shop:a:v2", b"mall:a:v1", b"shop:\xff:v1", b"shop::v1"):
            cache.changed(other, 1.0)
        assert fresh(cache) == "abcdef"
        cache.changed(key("b"), 2.0)
        assert fresh(cache) == "acdef"
        assert cache.changed_at == 2.0

    run(test)


def test_whoever_waits_for_rows_is_answered_before_they_are_written() -> None:
    async def test() -> None:
        cache = cache_of(Source())
        cache.keeping = True
        for ids in IDS[:3], IDS[3:]:
            await look_up(cache, ids)
            before = np.count_nonzero(cache.arena._fresh_until > 0)
            assert before == IDS.index(ids[0])
            await eventually(lambda n=before: np.count_nonzero(cache.arena._fresh_until > 0) > n)  # nobody looks
        assert fresh(cache) == "abcdef"

    run(test)


def test_change_before_a_row_is_written_makes_it_stale() -> None:
    async def test() -> None:
        cache = cache_of(Source())
        cache.keeping = True
        await look_up(cache)
        cache.changed(key("b"), 2.0)
        assert fresh(cache) == "acdef"
        await look_up(cache)
        cache.all_changed()
        assert fresh(cache) == ""

    run(test)


def test_rows_of_a_read_that_several_have_cannot_be_written_to() -> None:
    async def test() -> None:
        cache = cache_of(Source())
        lookup = cache.lookup(IDS, 0.0)
        await lookup.reads[0].wait()
        with pytest.raises(ValueError, match="read-only"):
            lookup.rows().values[0] = 2

    run(test)


def test_what_changed_or_was_not_read_is_not_kept() -> None:
    async def test() -> None:
        cache = cache_of(Source(dark="ac"))
        cache.keeping = True
        await look_up(cache)
        assert fresh(cache) == "bdef"
        changing = cache_of(Source(meanwhile=lambda: changing.changed(key("e"), 1.0)))
        changing.keeping = True
        await look_up(changing)
        assert fresh(changing) == "abcdf"

    run(test)


def slots_of(ids: str) -> HashSlots:
    slots = np.zeros(SLOTS, np.bool_)
    slots[[key_slot(key(i)) for i in ids]] = True
    return slots


@pytest.mark.parametrize("dark", ["", "d"])
def test_of_a_cluster_what_is_announced_is_kept_and_a_slot_goes_stale_alone(dark: str) -> None:
    async def test() -> None:
        cache = cache_of(Source(dark))
        cache.keeping, cache.announced = True, slots_of("abcd")
        await look_up(cache)
        assert fresh(cache) == "abcd".strip(dark)
        cache.slots_changed(slots_of("b"))
        assert fresh(cache) == "acd".strip(dark)

    run(test)


GROUPS = {
    "live": {"per": "user", "key": "live:{userId}", "features": ["clicks"]},
    "seller": {"per": "product", "key": "seller:{productId}", "features": ["rating"]},
}


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ({"user": {"features": ["age"]}}, {"user": 250, "product": 750}),
        ({}, {"user": 0, "product": 1000}),
        (
            {"user": {"features": ["age"]}, "groups": GROUPS},
            {"user": 125, "product": 375, "live": 125, "seller": 375},
        ),
    ],
)
def test_memory_is_parted_so_that_a_group_gets_what_users_or_products_get(
    data: dict[str, Any], parts: dict[str, int]
) -> None:
    schema = FeatureSchema.from_mapping({"product": {"features": ["price"]}} | data)
    assert split_bytes(1000, schema) == parts
