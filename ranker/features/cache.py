"""The near cache: the store protocol round another store, and what keeps it true.

Decoded rows live in arenas, so a hit is a gather and costs no round trip. A change in Redis makes a row stale at once
(`tracking`); where the server cannot announce changes, rows live for a time to live only. Rows that are stale are read
again, and shown only when Redis cannot be reached.
How the race between a read and a change is closed, `flights` says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Literal

import numpy as np
import numpy.typing as npt

from ranker.features.entity_cache import Brought, Side
from ranker.features.lookup import Missing, together
from ranker.features.shared_read import Flight
from ranker.features.store import RowStore
from ranker.process import background
from ranker.redis.hash_slots import HashSlots
from ranker.redis.invalidation import Tracks
from ranker.vectors.rows import Features, ProductId, Rows, UserId
from ranker.vectors.schema import FeatureSchema

logger = logging.getLogger("ranker.cache")

SETTLE_S = 1.0
"""How long a start waits for the server's word on tracking, in seconds: nothing is kept before."""
FILL_PRODUCTS = 1000
"""Products read at a time when the cache is filled."""
USER_SHARE = 0.25
"""The part of the memory that users' rows get."""

TrackingMode = Literal["auto", "on", "off"]


def split_bytes(size_bytes: int) -> tuple[int, int]:
    """Return what users' rows and products' rows get of so much memory, in bytes."""
    users = int(size_bytes * USER_SHARE)
    return users, size_bytes - users


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
    ) -> None:
        self._store = store
        user_bytes, product_bytes = split_bytes(size_bytes)
        self._users = Side(schema.user, user_bytes, user_ttl_s, self._read_users)
        self._products = Side(schema.product, product_bytes, ttl_s, self._read_products)
        self._mode = tracking
        self._keeping = tracking == "off"
        self._announced: HashSlots | None = None
        self._tracking: Tracks | None = None
        if tracking != "off":
            prefixes = (schema.user.key_parts[0], schema.product.key_parts[0])
            self._tracking = make_tracking(prefixes, self, self._refused)
        self._settled = asyncio.Event()
        self._following: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.hits = self.misses = self.invalidations = 0

    def check(self) -> None:
        self._store.check()

    def held(self, user_id: UserId, product_ids: Sequence[ProductId]) -> Features | None:
        now = asyncio.get_running_loop().time()
        user = self._users.arena.fresh_row(user_id, now)
        if user is None:
            return None
        arena = self._products.arena
        slots = arena.slots(product_ids)
        if np.count_nonzero(arena.stale(slots, now)):
            return None
        held = 1 + len(product_ids)
        self.hits += held
        return Features(user, arena.rows(slots), held)

    async def fetch(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
        self.check()  # before flights are made for nothing
        now = asyncio.get_running_loop().time()
        missing_users = Missing(self._users, () if user_id is None else (user_id,), now)
        missing_products = Missing(self._products, product_ids, now)
        self.misses += missing_users.count + missing_products.count
        held = missing_users.held + missing_products.held
        self.hits += held
        for missing in (missing_users, missing_products):
            if flight := missing.board():
                self._begin(missing.side.fly(flight, self._keep))
        flights = (*missing_users.flights, *missing_products.flights)
        for flight in flights:
            await flight.landing()
        user, products = missing_users.filled(), missing_products.filled()
        return Features(user, products, held, together(flights), missing_users.unread or missing_products.unread)

    def fresh(self, user_id: UserId, product_ids: Sequence[ProductId]) -> npt.NDArray[np.bool_]:
        now = asyncio.get_running_loop().time()
        users, products = self._users.arena, self._products.arena
        stale = users.stale(users.slots((user_id,)), now), products.stale(products.slots(product_ids), now)
        return ~np.concatenate(stale)

    def remembered(self, user_id: UserId, product_ids: Sequence[ProductId]) -> Features:
        users, products = self._users.arena, self._products.arena
        return Features(users.rows(users.slots((user_id,))), products.rows(products.slots(product_ids)))

    @property
    def evictions(self) -> int:
        """Rows that gave way to others so far."""
        return self._users.arena.evictions + self._products.arena.evictions

    @property
    def entries(self) -> dict[str, int]:
        """Rows held, by entity."""
        return {"user": len(self._users.arena), "product": len(self._products.arena)}

    @property
    def bytes_held(self) -> int:
        """About how much memory the rows held take."""
        return self._users.arena.bytes_held + self._products.arena.bytes_held

    @property
    def changed_s_ago(self) -> dict[str, float]:
        """Seconds since Redis last announced a change, by entity; without those it announced none for."""
        now = asyncio.get_running_loop().time()
        sides = {"user": self._users, "product": self._products}
        return {name: now - side.changed_at for name, side in sides.items() if side.changed_at is not None}

    @property
    def waiting(self) -> int:
        return self._store.waiting

    @property
    def keeping(self) -> bool:
        """Whether rows are kept now: not while announcements of changes may be missed."""
        return self._keeping

    async def open(self) -> None:
        if self._tracking is not None:
            if not self._following:
                self._following = {background.keep("tracking", self._tracking.run)}
            with suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), SETTLE_S)
        await self._store.open()

    async def fill(self, product_ids: Sequence[ProductId]) -> int:
        """Read products into the cache, the first of them, as many as it holds; return how many.

        Raises:
            StoreUnavailable: the features cannot be had now.
        """
        fitting = product_ids[: self._products.arena.capacity]
        for start in range(0, len(fitting), FILL_PRODUCTS):
            await self.fetch(None, fitting[start : start + FILL_PRODUCTS])
        return len(fitting)

    def clear(self) -> None:
        """Hold no rows."""
        for side in (self._users, self._products):
            side.arena.clear()

    async def close(self) -> None:
        tasks = self._tasks | self._following
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._store.close()

    # --- what tracking says -------------------------------------------------------------------------------------

    def tracking_began(self, slots: HashSlots | None = None) -> None:
        if self._keeping and self._announced is None:  # by time, until now: changes of these rows went unannounced
            self.changed(None)
        if slots is not None:
            self._announced = slots.copy() if self._announced is None else self._announced | slots
        for side in (self._users, self._products):  # what is under way may have been read, and changed, before
            side.forget_all()
        self._keeping = True
        self._settled.set()

    def tracking_lost(self, slots: HashSlots | None = None) -> None:
        if slots is None:
            self._keeping = False
            self.changed(None)
        elif self._announced is not None:
            self._announced = self._announced & ~slots
            self._keeping = bool(self._announced.any())
            for side in (self._users, self._products):
                side.slots_changed(slots)

    def changed(self, keys: Sequence[bytes] | None) -> None:
        now = asyncio.get_running_loop().time()
        for side in (self._users, self._products):
            if keys is None:
                side.all_changed()
            else:
                for key in keys:
                    side.changed(key, now)
        self.invalidations += 1 if keys is None else len(keys)

    def _refused(self, reason: str) -> None:
        self._keeping = self._mode == "auto"
        self._settled.set()
        logger.warning(
            "Redis announces no changes (%s); %s",
            reason,
            f"cached products may be {self._products.ttl_s:g} s old and users {self._users.ttl_s:g} s"
            if self._keeping
            else "nothing is cached, as RANKER_CACHE_TRACKING=on asks",
        )

    # --- flights ------------------------------------------------------------------------------------------------

    async def _read_users(self, ids: Sequence[str], requests: int) -> Brought:
        features = await self._store.read([UserId(i) for i in ids], (), requests)
        return features.user, features.unread, features.reading

    async def _read_products(self, ids: Sequence[str], requests: int) -> Brought:
        features = await self._store.read((), [ProductId(i) for i in ids], requests)
        return features.products, features.unread, features.reading

    def _keep(self, side: Side, flight: Flight, rows: Rows) -> None:
        if self._keeping and side.ttl_s > 0:
            side.keep(flight, rows, asyncio.get_running_loop().time() + side.ttl_s, self._announced)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        background.look("flight", task)
