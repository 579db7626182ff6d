"""The cache's own promises: the race with a change, flights, what is kept when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.errors import StoreUnavailable
from ranker.features.near_cache import cache as cache_module
from ranker.features.near_cache.arena import ENTRY_BYTES, Arena
from ranker.features.near_cache.cache import CachedStore
from ranker.features.reader import ReadRows
from ranker.features.shared_read import MAX_SHARED_IDS
from ranker.process import background
from ranker.redis.hash_slots import SLOTS, HashSlots, key_slot
from ranker.vectors.rows import ProductId, Reading, Rows, RowStatus, UserId
from ranker.vectors.schema import FeatureSchema
from tests.support.sample import SCHEMA, run


class GatedStore:
    """A store whose answers are fixed when it is asked and arrive when the test says so."""

    def __init__(self) -> None:
        self.price: dict[str, float] = {}
        self.asked: list[list[str]] = []
        self.requests: list[int] = []
        self.gate = asyncio.Event()
        self.down = False
        self.dark: set[str] = set()
        """Products on a node that does not answer."""
        self.reading: Reading | None = None

        self.users, self.products = SimpleNamespace(read=self.read_users), SimpleNamespace(read=self.read_products)
        self.groups: dict[str, SimpleNamespace] = {}

    async def read_users(self, ids: Sequence[str], requests: int = 1) -> ReadRows:
        await self._asked(ids, requests)
        n = len(ids)
        return ReadRows(Rows(np.ones((n, 2), np.float32), np.zeros(n, np.uint8), complete=True), None, self.reading)

    async def read_products(self, ids: Sequence[str], requests: int = 1) -> ReadRows:
        values = np.array([[self.price.get(i, np.nan)] * 3 for i in ids], np.float32).reshape(-1, 3)
        statuses = np.array([i not in self.price for i in ids], np.uint8)
        dark = [i in self.dark for i in ids]
        statuses[dark], values[dark] = RowStatus.UNREAD, -1
        await self._asked(ids, requests)
        unread = "a node is down" if any(dark) else None
        return ReadRows(Rows(values, statuses, complete=not statuses.any()), unread, self.reading)

    async def _asked(self, ids: Sequence[str], requests: int) -> None:
        self.asked.append([*ids])
        self.requests.append(requests)
        await self.gate.wait()
        if self.down:
            raise StoreUnavailable("down")

    def raise_if_down(self) -> None: ...

    waiting = 0

    async def open(self) -> None: ...
    async def close(self) -> None: ...


class NoTracking:
    async def run(self) -> None:
        await asyncio.Event().wait()


def cache(store: GatedStore, mode: str = "auto", user_ttl_s: float = 60.0) -> CachedStore:
    made = CachedStore(
        store,
        SCHEMA,
        size_bytes=1 << 20,
        ttl_s=60,
        user_ttl_s=user_ttl_s,
        tracking=mode,  # type: ignore[arg-type]  # a name, parametrized
        make_tracking=lambda *_: NoTracking(),
    )
    if mode == "auto":
        made.tracking_began()
    return made


async def prices(near: CachedStore, names: str) -> list[float]:
    products = [ProductId(n) for n in names]
    (features,) = near.held([(UserId("u"), products)])
    features = features or await near.fetch(UserId("u"), products)
    return features.products.values[:, 0].tolist()


def with_store(test: Callable[[GatedStore], Any]) -> None:
    async def body() -> None:
        await test(GatedStore())

    run(body)


def test_value_read_before_a_change_is_not_kept() -> None:
    async def test(store: GatedStore) -> None:
        near = cache(store)
        store.price["a"] = 1
        before = asyncio.create_task(prices(near, "a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        store.price["a"] = 2
        near.changed([b"product:a"])
        after = asyncio.create_task(prices(near, "a"))  # asked after the change: must not board the old flight
        await asyncio.sleep(0)
        store.gate.set()
        assert await before == [1]
        assert await after == [2]
        assert await prices(near, "a") == [2]
        assert sum("a" in asked for asked in store.asked) == 2

    with_store(test)


def test_change_after_the_second_flight_began_spares_neither() -> None:
    async def test(store: GatedStore) -> None:
        near = cache(store)
        flights = []
        for price in (1, 2, 3):
            store.price["a"] = price
            near.changed([b"product:a"])
            flights.append(asyncio.create_task(prices(near, "a")))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        store.price["a"] = 4
        near.changed(None)
        store.gate.set()
        assert [(await f)[0] for f in flights] == [1, 2, 3]
        assert await prices(near, "a") == [4]

    with_store(test)


def test_requests_of_one_round_share_a_read_of_what_each_misses() -> None:
    async def test(store: GatedStore) -> None:
        near = cache(store)
        store.price = {"a": 1, "b": 2, "c": 3}
        store.gate.set()
        wanted = [("u1", "ab"), ("u2", "c"), ("u3", "ca")]
        found = await asyncio.gather(*(near.fetch(UserId(u), [ProductId(p) for p in names]) for u, names in wanted))
        assert [features.products.values[:, 0].tolist() for features in found] == [[1, 2], [3], [3, 1]]
        assert sorted(zip(store.asked, store.requests, strict=True)) == [(["a", "b", "c"], 2), (["u1", "u2", "u3"], 3)]
        assert await prices(near, "abc") == [1, 2, 3]
        assert store.asked[2:] == [["u"]]  # all of what the flight brought is kept

    with_store(test)


def test_long_list_does_not_hold_up_those_of_its_round() -> None:
    async def test(store: GatedStore) -> None:
        near = cache(store)
        store.gate.set()
        long = [ProductId(f"{i}") for i in range(MAX_SHARED_IDS + 1)]
        lists = [[ProductId("a")], long, [ProductId("b")], [ProductId("c")]]
        await asyncio.gather(*(near.fetch(None, products) for products in lists))
        assert store.asked == [["a"], long, ["b", "c"]]

    with_store(test)


def test_read_is_shared_up_to_its_bound() -> None:
    async def test(store: GatedStore) -> None:
        near = cache(store)
        store.gate.set()
        most = [ProductId(f"{i}") for i in range(MAX_SHARED_IDS)]
        await asyncio.gather(near.fetch(None, most[:1]), near.fetch(None, most[1:]), near.fetch(None, [ProductId("a")]))
        assert store.asked == [most, ["a"]]

    with_store(test)


def test_change_announced_while_a_flight_is_boarding_leaves_nothing_of_it() -> None:
    async def test(store: GatedStore) -> None:
        near = cache(store)
        store.price["a"] = 1
        store.gate.set()

        async def change() -> None:
            near.changed([b"product:a"])

        before, _, after = await asyncio.gather(prices(near, "a"), change(), prices(near, "a"))  # all in one round
        assert before == after == [1]
        assert store.asked == [["u"], ["a", "a"]]
        store.price["a"] = 2  # announced to nobody: were it kept, or the flight still known, 1 would be shown
        assert await prices(near, "a") == [2]

    with_store(test)


def test_concurrent_misses_share_one_flight_and_survive_its_first_passenger() -> None:
    async def test(store: GatedStore) -> None:
        near = cache(store)
        store.price.update(a=1, b=2, c=3)
        first = asyncio.create_task(prices(near, "ab"))
        await asyncio.sleep(0)
        second = asyncio.create_task(prices(near, "cba"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        store.gate.set()
        assert await second == [3, 2, 1]
        assert sorted(i for asked in store.asked for i in asked) == ["a", "b", "c", "u"]

    with_store(test)


names = st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True)


@given(
    known=st.sets(st.sampled_from("abcdefgh")),
    held=st.lists(st.sampled_from("abcdefgh"), unique=True),
    dark=st.sets(st.sampled_from("abcdefgh")),
    requests=st.lists(names, min_size=1, max_size=5),
)
def test_each_of_many_requests_gets_its_rows_whoever_else_asked_for_them(
    known: set[str], held: list[str], dark: set[str], requests: list[list[str]]
) -> None:
    async def test(store: GatedStore) -> None:
        near = cache(store)
        store.gate.set()
        store.price.update({i: 1 for i in known})
        if held:
            await prices(near, "".join(held))
        near.changed(None)
        store.gate.clear()
        store.price.update({i: 2 for i in known})
        store.dark = dark
        fetches = [asyncio.create_task(near.fetch(UserId("u"), [ProductId(i) for i in ids])) for ids in requests]
        for _ in range(3):
            await asyncio.sleep(0)
        store.gate.set()
        for ids, fetch in zip(requests, fetches, strict=True):
            features = await fetch
            for i, status, row in zip(ids, features.products.statuses.tolist(), features.products.values, strict=True):
                remembered = i in dark  # as last known, if it was
                found = i in known and (i in held or not remembered)
                lacks = RowStatus.UNREAD if remembered else RowStatus.MISSING
                assert status == (RowStatus.FOUND if found else lacks)
                assert not found or row[0] == (1 if remembered else 2)
            assert features.products.complete == (not features.products.statuses.any())
            assert (features.unread is not None) == (not dark.isdisjoint(ids))
        asked = [i for batch in store.asked[1 + bool(held) :] for i in batch if i != "u"]
        assert len(asked) == len(set(asked))  # each once, whoever asked

    with_store(test)


def test_failed_flight_fails_its_passengers_and_nobody_later() -> None:
    async def test(store: GatedStore) -> None:
        near = cache(store)
        store.price["a"] = 1
        store.down = True
        store.gate.set()
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await prices(near, "a")
        store.down = False
        assert await prices(near, "a") == [1]

    with_store(test)


def test_unknown_ids_are_remembered_as_unknown() -> None:
    async def test(store: GatedStore) -> None:
        near = cache(store)
        store.gate.set()
        await prices(near, "x")
        features = await near.fetch(UserId("u"), [ProductId("x")])
        assert features.products.statuses.tolist() == [RowStatus.MISSING]
        assert len(store.asked) == 2  # the user and the product, once each
        near.changed([b"product:x"])
        store.price["x"] = 5
        assert await prices(near, "x") == [5]

    with_store(test)


def test_lost_tracking_makes_all_stale_and_keeps_nothing_until_it_is_back() -> None:
    async def test(store: GatedStore) -> None:
        near = cache(store)
        store.gate.set()
        store.price["a"] = 1
        await prices(near, "a")
        near.tracking_lost()
        for price in (2, 3):
            store.price["a"] = price
            assert await prices(near, "a") == [price]
        near.tracking_began()
        store.price["a"] = 4
        assert await prices(near, "a") == [4]
        store.price["a"] = 5  # nothing was announced, so this is not seen
        assert await prices(near, "a") == [4]

    with_store(test)


def test_what_was_held_is_remembered_when_the_store_is_down() -> None:
    async def test(store: GatedStore) -> None:
        near = cache(store)
        store.gate.set()
        store.price["a"] = 1
        await prices(near, "a")
        near.tracking_lost()
        features = near.remembered(UserId("u"), [ProductId("b"), ProductId("a")])
        assert features.user.complete
        assert features.products.statuses.tolist() == [RowStatus.UNREAD, RowStatus.FOUND]
        assert features.products.values[1, 0] == 1

    with_store(test)


def test_users_are_not_kept_when_their_time_to_live_is_zero() -> None:
    async def test(store: GatedStore) -> None:
        near = cache(store, user_ttl_s=0)
        store.gate.set()
        for _ in range(3):
            await prices(near, "a")
        assert sum("u" in asked for asked in store.asked) == 3
        assert sum("a" in asked for asked in store.asked) == 1

    with_store(test)


@pytest.mark.parametrize(("mode", "asked"), [("auto", 1), ("on", 2)])
def test_refused_tracking_falls_back_to_the_time_to_live_or_caches_nothing(
    mode: str, asked: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(store: GatedStore) -> None:
        near = cache(store, mode)
        near.tracking_lost()
        near._refused("unknown command")
        store.gate.set()
        for _ in range(2):
            await prices(near, "a")
        assert sum("a" in a for a in store.asked) == asked

    with_store(test)
    assert len(caplog.records) == 1
    assert "unknown command" in caplog.text


def test_filling_keeps_the_first_products_as_many_as_fit_and_a_ranking_finds_them() -> None:
    async def test(store: GatedStore) -> None:
        near = cache(store)
        store.gate.set()
        store.price.update({name: float(ord(name)) for name in "abcdef"})
        near.products.arena = Arena(SCHEMA.product.width, 4 * (4 * SCHEMA.product.width + ENTRY_BYTES))
        await near.open()
        assert await near.fill([ProductId(name) for name in "abcdef"]) == 4
        assert await prices(near, "abcd") == [ord(name) for name in "abcd"]
        assert store.asked == [["a", "b", "c", "d"], ["u"]]
        await near.close()

    with_store(test)


def test_opening_waits_for_the_word_on_tracking_so_that_what_is_read_then_is_kept() -> None:
    async def test(store: GatedStore) -> None:
        near = cache(store, mode="on")
        store.gate.set()
        store.price["a"] = 1
        asyncio.get_running_loop().call_later(0.05, near.tracking_began)
        await near.open()
        await near.fill([ProductId("a")])
        assert await prices(near, "a") == [1]
        assert store.asked == [["a"], ["u"]]
        await near.close()

    with_store(test)


def test_what_a_fetch_held_and_how_it_read_the_rest_is_told() -> None:
    async def test() -> None:
        store = GatedStore()
        store.gate.set()
        store.price = {"a": 1.0, "b": 2.0}
        store.reading = Reading(0.001, 2, 30)
        cached = cache(store)
        first = await cached.fetch(UserId("u"), [ProductId("a")])
        assert (first.held, first.reading) == (0, Reading(0.002, 2, 30))  # the user and the product, decoded in turn
        second = await cached.fetch(UserId("u"), [ProductId("a"), ProductId("b")])
        assert (second.held, second.reading) == (2, Reading(0.001, 2, 30))
        (third,) = cached.held([(UserId("u"), [ProductId("a"), ProductId("b")])])
        assert third is not None
        assert (third.held, third.reading) == (3, None)
        assert cached.bytes_held == sum(
            entries * (4 * entity.width + ENTRY_BYTES) for entries, entity in ((1, SCHEMA.user), (2, SCHEMA.product))
        )

    run(test)


def test_age_of_features_is_the_time_since_a_change_of_theirs_was_announced() -> None:
    async def test() -> None:
        cached = cache(GatedStore())
        assert cached.changed_s_ago == {}
        cached.changed([b"product:a", b"order:1"])
        await asyncio.sleep(0.02)
        ages = cached.changed_s_ago
        assert set(ages) == {"product"}
        assert 0.02 <= ages["product"] < 5
        cached.changed(None)  # a lost connection is no change
        assert cached.changed_s_ago["product"] >= ages["product"]

    run(test)


@given(
    st.lists(
        st.tuples(st.sampled_from("uvw"), st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True)),
        min_size=1,
        max_size=6,
    ),
    st.sets(st.sampled_from("abcdefgh"), max_size=3),
    st.sets(st.sampled_from("abcdefgh"), max_size=3),
    st.booleans(),
)
def test_requests_that_are_looked_up_together_get_what_each_would_alone(
    wanted: list[tuple[str, list[str]]], absent: set[str], changed: set[str], user_changed: bool
) -> None:
    async def test() -> None:
        store = GatedStore()
        store.gate.set()
        store.price = {name: float(ord(name)) for name in "abcdefgh" if name not in absent}
        near = cache(store)
        for user in "uv":
            await near.fetch(UserId(user), [ProductId(name) for name in "abcdefgh"])
        near.changed([f"product:{name}".encode() for name in changed] + [b"user:v"] * user_changed)
        hits, asked = near.hits, [(UserId(user), [ProductId(name) for name in names]) for user, names in wanted]
        together = near.held(asked)
        hits_together = near.hits - hits
        alone = [features for one in asked for features in near.held([one])]
        assert near.hits - hits == 2 * hits_together
        for (user, products), a, b in zip(asked, together, alone, strict=True):
            fresh_user = user == "u" or (user == "v" and not user_changed)
            assert (a is None) == (b is None) == (not fresh_user or bool(changed & set(products)))
            if a is None or b is None:
                continue
            assert (a.held, a.reading, a.unread) == (1 + len(products), None, None)
            for x, y in ((a.user, b.user), (a.products, b.products)):
                assert (x.statuses.tolist(), x.complete) == (y.statuses.tolist(), y.complete)
                found = x.statuses == RowStatus.FOUND
                assert x.values[found].tolist() == y.values[found].tolist()
            prices = np.where(a.products.statuses == RowStatus.FOUND, a.products.values[:, 0], np.nan)
            assert np.array_equal(prices, [store.price.get(name, np.nan) for name in products], equal_nan=True)
            assert a.products.complete == (not absent & set(products))

    run(test)


GROUPED = FeatureSchema.from_mapping(
    SCHEMA.to_metadata()
    | {
        "groups": {
            "live": {"per": "user", "key": "live:{userId}", "features": ["clicks"]},
            "seller": {"per": "product", "key": "seller:{productId}", "features": ["rating"]},
            "stock": {"per": "product", "key": "stock:{productId}", "ttl_s": 5, "features": ["left"]},
        }
    }
)


def test_groups_live_as_long_as_users_or_products_unless_they_say_otherwise() -> None:
    async def test(store: GatedStore) -> None:
        store.groups = dict.fromkeys(("live", "seller", "stock"), store.products)
        asked: list[Sequence[str]] = []

        def track(prefixes: Sequence[str], *_: object) -> NoTracking:
            asked.append(prefixes)
            return NoTracking()

        how: Any = {"size_bytes": 1 << 20, "ttl_s": 60, "user_ttl_s": 30, "tracking": "on", "make_tracking": track}
        near = CachedStore(store, GROUPED, **how)
        assert {name: group.ttl_s for name, group in near.groups.items()} == {"live": 30, "seller": 60, "stock": 5}
        assert near.entries == dict.fromkeys(("user", "product", "live", "seller", "stock"), 0)
        assert [sorted(prefixes) for prefixes in asked] == [["live:", "product:", "seller:", "stock:", "user:"]]

    with_store(test)


@pytest.mark.parametrize(("mode", "keeps"), [("off", True), ("on", False), ("auto", False)])
def test_nothing_is_kept_before_the_word_on_tracking_where_it_is_wanted(mode: str, keeps: bool) -> None:
    async def test(store: GatedStore) -> None:
        made: list[NoTracking] = []

        def track(*_: object) -> NoTracking:
            made.append(NoTracking())
            return made[-1]

        how: Any = {"size_bytes": 1 << 20, "ttl_s": 60, "user_ttl_s": 60, "tracking": mode, "make_tracking": track}
        near = CachedStore(store, SCHEMA, **how)
        store.gate.set()
        store.price["a"] = 1
        assert (near.keeping, len(made)) == (keeps, int(not keeps))
        if mode == "off":
            await near.open()
        await prices(near, "a")
        assert near.entries == ({"user": 1, "product": 1} if keeps else {"user": 0, "product": 0})
        assert near.prepared_bytes_held == 0
        assert await prices(near, "a") == [1]
        await near.close()

    with_store(test)


def test_hits_misses_and_announced_changes_are_counted_from_zero() -> None:
    async def test(store: GatedStore) -> None:
        near = cache(store)
        store.gate.set()
        counted = []
        for names in ("", "ab", "ac", "abc"):
            if names:
                await near.fetch(UserId("u"), [ProductId(name) for name in names])
            counted.append((near.hits, near.misses))
        assert counted == [(0, 0), (0, 3), (2, 4), (6, 4)]
        told = [near.invalidations]
        for keys in ([b"product:a", b"user:u"], None, [b"order:1"]):
            near.changed(keys)
            told.append(near.invalidations)
        assert told == [0, 2, 3, 4]

    with_store(test)


def test_rows_are_fresh_that_are_held_and_did_not_change() -> None:
    async def test(store: GatedStore) -> None:
        near = cache(store)
        store.gate.set()
        await near.fetch(UserId("u"), [ProductId("a"), ProductId("b")])
        products = [ProductId("b"), ProductId("x"), ProductId("a")]
        assert near.fresh(UserId("u"), products).tolist() == [True, True, False, True]
        assert near.fresh(None, products[:1]).tolist() == [False, True]
        near.changed([b"product:a", b"user:u"])
        assert near.fresh(UserId("u"), products).tolist() == [False, True, False, False]

    with_store(test)


def test_tracking_that_is_refused_is_told_to_the_cache_that_asked_for_it() -> None:
    async def test(store: GatedStore) -> None:
        refused: list[Callable[[str], None]] = []

        def track(_prefixes: object, listener: CachedStore, refuse: Callable[[str], None]) -> NoTracking:
            refused.append(refuse)
            listeners.append(listener)
            return NoTracking()

        listeners: list[CachedStore] = []
        how: Any = {"size_bytes": 1 << 20, "ttl_s": 60, "user_ttl_s": 60, "tracking": "auto", "make_tracking": track}
        near = CachedStore(store, SCHEMA, **how)
        assert (listeners, near.keeping) == ([near], False)
        refused[0]("unknown command")
        assert near.keeping  # by time

    with_store(test)


def slots_of(*keys: bytes) -> HashSlots:
    slots = np.zeros(SLOTS, np.bool_)
    slots[[key_slot(key) for key in keys]] = True
    return slots


A, B = slots_of(b"product:a"), slots_of(b"product:b")


def test_of_a_cluster_the_slots_that_are_announced_are_kept_and_those_that_are_lost_go_stale() -> None:
    async def test(store: GatedStore) -> None:
        async def kept() -> str:
            """Read both products; say which are kept."""
            await near.fetch(UserId("u"), products)
            return "".join(np.array(["u", "a", "b"])[near.fresh(UserId("u"), products)])

        near, products = cache(store, mode="on"), [ProductId("a"), ProductId("b")]
        store.gate.set()
        assert (await kept(), near.keeping) == ("", False)
        near.tracking_began(A)
        assert (near.keeping, near.invalidations) == (True, 0)
        assert await kept() == "a"
        near.tracking_began(B)
        assert near.fresh(None, products).tolist() == [False, True, False]  # what was announced is as it was
        assert await kept() == "ab"
        near.changed([b"product:a"])
        assert await kept() == "ab"  # both are announced now
        near.tracking_lost(A)
        assert near.fresh(None, products).tolist() == [False, False, True]
        assert (await kept(), near.keeping) == ("b", True)
        near._refused("unknown command")  # by one node
        assert near.keeping is False
        near.tracking_began(A)
        near.changed([b"product:b"])
        assert await kept() == "ab"
        near.tracking_lost(A)
        near.tracking_lost(B)
        assert (await kept(), near.keeping) == ("", False)
        near.tracking_lost()
        assert near.keeping is False

    with_store(test)


def test_rows_kept_by_time_are_stale_once_their_changes_are_announced() -> None:
    async def test(store: GatedStore) -> None:
        how: Any = {"size_bytes": 1 << 20, "ttl_s": 60, "user_ttl_s": 60, "tracking": "auto"}
        near = CachedStore(store, SCHEMA, make_tracking=lambda *_: NoTracking(), **how)
        near._refused("unknown command")
        store.gate.set()
        await near.fetch(UserId("u"), [ProductId("a")])
        assert near.fresh(UserId("u"), [ProductId("a")]).all()
        near.tracking_lost(A)  # nothing of it was announced
        assert near.fresh(UserId("u"), [ProductId("a")]).all()
        near.tracking_began()
        assert not near.fresh(UserId("u"), [ProductId("a")]).any()

    with_store(test)


def test_cache_is_filled_some_products_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(store: GatedStore) -> None:
        monkeypatch.setattr(cache_module, "FILL_PRODUCTS", 2)
        store.gate.set()
        assert await cache(store).fill([ProductId(name) for name in "abcde"]) == 5
        assert store.asked == [["a", "b"], ["c", "d"], ["e"]]

    with_store(test)


def test_start_does_not_wait_for_ever_for_the_word_on_tracking_and_close_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[bool] = []

    class Following(NoTracking):
        async def run(self) -> None:
            try:
                await super().run()
            finally:
                await asyncio.sleep(0)
                ended.append(True)

    async def test(store: GatedStore) -> None:
        monkeypatch.setattr(cache_module, "SETTLE_S", 0.01)
        how: Any = {"size_bytes": 1 << 20, "ttl_s": 60, "user_ttl_s": 60, "tracking": "on"}
        near = CachedStore(store, SCHEMA, make_tracking=lambda *_: Following(), **how)
        await near.open()
        assert near.keeping is False
        await near.close()
        assert ended == [True]

    with_store(test)


def test_tracking_that_fails_in_a_way_that_nobody_foresaw_is_counted_under_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Failing(NoTracking):
        async def run(self) -> None:
            raise RuntimeError("what nobody foresaw")

    async def test(store: GatedStore) -> None:
        monkeypatch.setattr(cache_module, "SETTLE_S", 0.01)
        before = background.unforeseen["tracking"]
        how: Any = {"size_bytes": 1 << 20, "ttl_s": 60, "user_ttl_s": 60, "tracking": "on"}
        near = CachedStore(store, SCHEMA, make_tracking=lambda *_: Failing(), **how)
        await near.open()
        assert background.unforeseen["tracking"] > before
        await near.close()

    with_store(test)
