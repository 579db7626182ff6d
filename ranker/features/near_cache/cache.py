"""Near cache: decoded rows in memory in front of another store, kept true by Redis' announcements of changes.

A hit is a gather in an arena and costs no round trip. A change in Redis makes a row stale at once
(`redis.invalidation`); where the server cannot announce changes, rows live for their TTL only. Rows that are stale are
read again, and shown only when Redis cannot be reached. Owns what announcements mean for the entities' caches; how the
race between a read and a change is closed, `shared_read` says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal

import numpy as np
import numpy.typing as npt

from ranker.features.near_cache.entity_cache import EntityCache, split_bytes
from ranker.features.near_cache.held import Asked, find_held
from ranker.features.prepared import Preparer
from ranker.features.shared_read import Read, merged
from ranker.features.store import RowStore
from ranker.process import background
from ranker.redis.hash_slots import HashSlots
from ranker.redis.invalidation import Tracks
from ranker.vectors.rows import Features, ProductId, Rows, UserId
from ranker.vectors.schema import FeatureSchema

logger = logging.getLogger("ranker.cache")

SETTLE_S = 1.0
"""Seconds that a start waits for the server's word on tracking: nothing is kept before."""
FILL_PRODUCTS = 1000
"""Products read at a time when the cache is filled."""
TrackingMode = Literal["auto", "on", "off"]


class CachedStore:
    """A `FeatureStore` that answers from memory what it can, and the rest from another store.

    Args:
        store: Where missing rows come from.
        schema: The entities' widths and key templates.
        size_bytes: About how much memory to take.
        ttl_s: How long a product's row is used, at most, in seconds.
        user_ttl_s: The same for users; 0 keeps no users.
        tracking: `auto` uses announcements where the server offers them; `on` keeps nothing without them; `off` does
            without.
        make_tracking: Builds the tracking connection, given the prefixes, the listener and what to call when refused.
        preparer: Appends to a product's row what the model prepares of it; None for a model that prepares nothing.
    """

    def __init__(
        self,
        store: RowStore,
        schema: FeatureSchema,
        *,
        size_bytes: int,
        ttl_s: float,
        user_ttl_s: float,
        tracking: TrackingMode,
        make_tracking: Callable[[Sequence[str], CachedStore, Callable[[str], None]], Tracks],
        preparer: Preparer | None = None,
    ) -> None:
        self._store = store
        self._reads = background.Tasks("shared read")
        bytes_of, begin = split_bytes(size_bytes, schema), self._reads.begin
        self._users = EntityCache(schema.user, bytes_of["user"], user_ttl_s, store.users.read, begin)
        read: Read = store.products.read if preparer is None else preparer.reading(store.products.read)
        width = None if preparer is None else preparer.width
        self.products = EntityCache(schema.product, bytes_of["product"], ttl_s, read, begin, width)
        """Rows of products; those of a history are among them."""
        self._prepared_bytes = 0 if preparer is None else 4 * (preparer.width - schema.product.width)
        self.groups: dict[str, EntityCache] = {}
        for name, group in schema.keyed.items():
            usual_s = user_ttl_s if group.per == "user" else ttl_s
            lives_s = usual_s if group.ttl_s is None else group.ttl_s
            self.groups[name] = EntityCache(group, bytes_of[name], lives_s, store.groups[name].read, begin)
        self._named = {"user": self._users, "product": self.products, **self.groups}
        self._entities = tuple(self._named.values())
        self._nobody = Rows.known(schema.user.defaults[np.newaxis])
        self._mode = tracking
        self._keep(tracking == "off", None)
        self._tracking: Tracks | None = None
        if tracking != "off":
            prefixes = [entity.key_parts[0] for entity in schema.entities.values()]
            self._tracking = make_tracking(prefixes, self, self._refused)
        self._settled = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self.hits = self.misses = self.invalidations = 0

    def raise_if_down(self) -> None:
        """Raise StoreUnavailable where reading would, without asking anybody."""
        self._store.raise_if_down()

    def held(self, asked: Sequence[Asked]) -> list[Features | None]:
        now = asyncio.get_running_loop().time()
        found = find_held(self._users.arena, self.products.arena, asked, now, self._nobody)
        self.hits += sum([features.held for features in found if features is not None])
        return found

    async def fetch(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
        self._store.raise_if_down()  # before reads are made for nothing
        now = asyncio.get_running_loop().time()
        users = self._users.lookup(() if user_id is None else (user_id,), now)
        products = self.products.lookup(product_ids, now)
        hits = users.hits + products.hits
        self.hits += hits
        self.misses += users.misses + products.misses
        reads = (*users.reads, *products.reads)
        for read in reads:
            await read.wait()
        user, product = self._nobody if user_id is None else users.rows(), products.rows()
        reading = merged([read.reading for read in reads if read.reading is not None])
        return Features(user, product, hits, reading, users.unread or products.unread)

    def fresh(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> npt.NDArray[np.bool_]:
        now = asyncio.get_running_loop().time()
        users, products = self._users.arena, self.products.arena
        user_slots = users.slots((user_id,))  # type: ignore[arg-type]  # None is in no arena
        stale = users.stale(user_slots, now), products.stale(products.slots(product_ids), now)
        return ~np.concatenate(stale)

    def remembered(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
        user = self._nobody if user_id is None else self._users.arena.last_known((user_id,))
        return Features(user, self.products.arena.last_known(product_ids))

    @property
    def evictions(self) -> int:
        """Rows that gave way to others so far."""
        return sum([entity.arena.evictions for entity in self._entities])

    @property
    def entries(self) -> dict[str, int]:
        """Rows held, by entity."""
        return {name: len(entity.arena) for name, entity in self._named.items()}

    @property
    def bytes_held(self) -> int:
        """About how much memory the rows held take."""
        return sum([entity.arena.bytes_held for entity in self._entities])

    @property
    def prepared_bytes_held(self) -> int:
        """How much of that is what the model has prepared of products."""
        return len(self.products.arena) * self._prepared_bytes

    @property
    def changed_s_ago(self) -> dict[str, float]:
        """Seconds since Redis last announced a change, by entity; without those it announced none for."""
        now = asyncio.get_running_loop().time()
        return {name: now - entity.changed_at for name, entity in self._named.items() if entity.changed_at is not None}

    @property
    def waiting(self) -> int:
        return self._store.waiting

    @property
    def keeping(self) -> bool:
        """Whether rows are kept now: not while announcements of changes may be missed."""
        return self._keeping

    async def open(self) -> None:
        if self._tracking is not None:
            if self._following is None:
                self._following = background.keep("tracking", self._tracking.run)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), SETTLE_S)
        await self._store.open()

    async def fill(self, product_ids: Sequence[ProductId]) -> int:
        """Read products into the cache, the first of them, as many as it holds; return how many.

        Raises:
            StoreUnavailable: the features cannot be had now.
        """
        fitting = product_ids[: self.products.arena.capacity]
        for start in range(0, len(fitting), FILL_PRODUCTS):
            await self.fetch(None, fitting[start : start + FILL_PRODUCTS])
        return len(fitting)

    def clear(self) -> None:
        """Hold no rows."""
        for entity in self._entities:
            entity.arena.clear()

    async def close(self) -> None:
        await background.cancel(self._following)
        await self._reads.cancel()
        await self._store.close()

    def tracking_began(self, slots: HashSlots | None = None) -> None:
        if self._keeping and self._announced is None:  # by time, until now: changes of these rows went unannounced
            self.changed(None)
        announced = self._announced
        if slots is not None:
            announced = slots.copy() if announced is None else announced | slots
        self._keep(True, announced)
        for entity in self._entities:
            entity.forget_reads()
        self._settled.set()

    def tracking_lost(self, slots: HashSlots | None = None) -> None:
        if slots is None:
            self._keep(False, None)
            self.changed(None)
        elif self._announced is not None:
            announced = self._announced & ~slots
            self._keep(bool(announced.any()), announced)
            for entity in self._entities:
                entity.slots_changed(slots)

    def changed(self, keys: Sequence[bytes] | None) -> None:
        now = asyncio.get_running_loop().time()
        for entity in self._entities:
            if keys is None:
                entity.all_changed()
            else:
                for key in keys:
                    entity.changed(key, now)
        self.invalidations += 1 if keys is None else len(keys)

    def _refused(self, reason: str) -> None:
        self._keep(self._mode == "auto", self._announced)
        self._settled.set()
        logger.warning(
            "Redis announces no changes (%s); %s",
            reason,
            f"cached products may be {self.products.ttl_s:g} s old and users {self._users.ttl_s:g} s"
            if self._keeping
            else "nothing is cached, as RANKER_CACHE_TRACKING=on asks",
        )

    def _keep(self, keeping: bool, announced: HashSlots | None) -> None:
        """Say whether rows are kept from now on, and of which slots of a Cluster."""
        self._keeping, self._announced = keeping, announced
        for entity in self._entities:
            entity.keeping, entity.announced = keeping, announced
