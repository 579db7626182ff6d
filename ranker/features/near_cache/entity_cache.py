"""Entity cache: the rows of one entity in memory, what keeps them true, and the reads that bring the rest.

Owns which rows may still be used and which may be kept. Knows nothing of Redis but which slot of a Cluster a key is in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from ranker.features.near_cache.arena import Arena
from ranker.features.near_cache.lookup import Lookup
from ranker.features.shared_read import Read, SharedRead, SharedReads
from ranker.redis.hash_slots import HashSlots, key_slot
from ranker.vectors.group import EntitySchema
from ranker.vectors.rows import Rows, RowStatus
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import make_keys

USER_SHARE = 0.25
"""The part of the memory that users' rows get."""
WRITE_AFTER_S = 0.001
"""Seconds after a read until its rows are written, unless somebody looks before: whoever waited is answered first.

Memory that is written for the first time costs 3 us for each 4 kB."""


class EntityCache:
    """The near cache of one entity.

    Args:
        entity: Its width and key template.
        size_bytes: About how much memory to take.
        ttl_s: How long a row is used, at most, in seconds; 0 keeps none.
        read: Reads what is missing.
        begin: Begins a task.
        width: How many columns the rows have that it reads; the entity's when None.

    Attributes:
        arena: The rows.
        keeping: Whether rows that are read are kept: not while changes of them may go unannounced.
        announced: The slots of a Cluster whose changes are announced; None for one server.
        changed_at: When a change of one of the entity's keys was last announced, by the event loop's time.
    """

    def __init__(
        self,
        entity: EntitySchema,
        size_bytes: int,
        ttl_s: float,
        read: Read,
        begin: Callable[[Coroutine[Any, Any, None]], object],
        width: int | None = None,
    ) -> None:
        self.arena = Arena(entity.width if width is None else width, size_bytes)
        self.ttl_s = ttl_s
        self.keeping = False
        self.announced: HashSlots | None = None
        self.changed_at: float | None = None
        self._reads = SharedReads(read, self._keep, begin)
        self._entity = entity
        self._writing: asyncio.TimerHandle | None = None

    def lookup(self, ids: Sequence[str], now: float) -> Lookup:
        """Look ids up, and join the reads of what is not fresh at the time `now` of the event loop."""
        return Lookup(self.arena, self._reads, ids, now)

    def changed(self, key: bytes, now: float) -> None:
        """Take note that what a key held changed; `now` is the event loop's time."""
        entity_id = self._entity.id_in(key)
        if entity_id is None:
            return
        self.changed_at = now
        self.arena.expire(entity_id)
        self._reads.forget(entity_id)

    def all_changed(self) -> None:
        """Take every row for changed, and whatever is being read."""
        self.arena.expire_all()
        self._reads.forget_all()

    def slots_changed(self, slots: HashSlots) -> None:
        """Take for changed what is in these slots of a Cluster, and whatever is being read."""
        self.arena.expire_groups(slots)
        self._reads.forget_all()

    def forget_reads(self) -> None:
        """Keep nothing of what is being read: it may have been read, and changed, before changes are announced."""
        self._reads.forget_all()

    def _keep(self, shared: SharedRead, rows: Rows) -> None:
        """Keep what a read brought, but for what changed meanwhile, could not be read, or is not announced."""
        if not self.keeping or self.ttl_s <= 0:
            return
        ids, announced = shared.ids, self.announced
        if shared.changed or shared.unread is not None or announced is not None:
            unread = (rows.statuses == RowStatus.UNREAD).tolist()
            positions = [
                at
                for at, entity_id in enumerate(ids)
                if entity_id not in shared.changed
                and not unread[at]
                and (announced is None or announced[self._slot(entity_id)])
            ]
            ids, rows = [ids[at] for at in positions], rows.taken(positions)
        loop = asyncio.get_running_loop()
        self.arena.put(ids, rows, loop.time() + self.ttl_s, None if announced is None else self._slot)
        if self._writing is None:
            self._writing = loop.call_later(WRITE_AFTER_S, self._write)

    def _write(self) -> None:
        self._writing = None
        self.arena.settle()

    def _slot(self, entity_id: str) -> int:
        """Return the slot of a Cluster that an id's key is in."""
        (key,) = make_keys(self._entity, (entity_id,))
        return key_slot(key)


def split_bytes(size_bytes: int, schema: FeatureSchema) -> dict[str, int]:
    """Return what the rows of each entity get of so much memory, in bytes: as much per group as users, or products."""
    shares = {"user": USER_SHARE, "product": 1 - USER_SHARE}
    parts = {"user": USER_SHARE if schema.has_user else 0.0, "product": shares["product"]}
    parts |= {name: shares[group.per] for name, group in schema.keyed.items()}
    whole = sum(parts.values())
    return {name: int(size_bytes * part / whole) for name, part in parts.items()}
