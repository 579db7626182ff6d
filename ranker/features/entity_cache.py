"""What of one entity is in memory, and the reads that bring the rest.

What requests of one round of the event loop miss goes on one flight, which departs in the next: one read for all of
them, decoded and kept at once. The race between a read and a change is closed so: a flight is known by the ids it
reads. A change takes its id off its flight, so what that flight brings for it answers the requests that asked before
the change and is not kept, and whoever asks later boards another flight. Owns that; knows nothing of stores or Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ranker.features.arena import Arena
from ranker.features.shared_read import Flight
from ranker.redis.hash_slots import HashSlots, key_slot
from ranker.vectors.rows import Reading, Rows, RowStatus
from ranker.vectors.schema import EntitySchema

SEATS = 256
"""Ids that may board a flight beside others; a request that misses more has a flight of its own."""

Brought = tuple[Rows, str | None, Reading | None]
"""Rows, why some of them could not be read, and how they were read."""
Read = Callable[[Sequence[str], int], Awaitable[Brought]]
"""Reads the rows of ids, for so many requests."""


class Side:
    """The cache of one entity: its arena, and the flights that fill it.

    Args:
        entity: Its width and key template.
        size_bytes: About how much memory to take.
        ttl_s: How long a row is used, at most, in seconds.
        read: Brings what is missing.
    """

    def __init__(self, entity: EntitySchema, size_bytes: int, ttl_s: float, read: Read) -> None:
        self._read = read
        self.arena = Arena(entity.width, size_bytes)
        self.ttl_s = ttl_s
        self.flights: dict[str, Flight] = {}
        self._boarding: Flight | None = None
        """The one that has not departed."""
        self.changed_at: float | None = None
        """When a change of one of the entity's keys was last announced, by the event loop's time."""
        before, after = entity.key_parts
        self._before, self._after = before.encode(), after.encode()

    def changed(self, key: bytes, now: float) -> None:
        """Take note that what a key held changed; `now` is the event loop's time."""
        if not (key.startswith(self._before) and key.endswith(self._after)):
            return
        self.changed_at = now
        try:
            entity_id = key[len(self._before) : len(key) - len(self._after)].decode()
        except UnicodeDecodeError:  # no request can have asked for it
            return
        self.arena.expire(entity_id)
        self.forget(entity_id)

    def all_changed(self) -> None:
        self.arena.expire_all()
        self.forget_all()

    def slots_changed(self, slots: HashSlots) -> None:
        """Take for changed what is in these slots of a Cluster, and whatever is under way."""
        self.arena.expire_groups(slots)
        self.forget_all()

    def board(self, ids: list[str]) -> tuple[Flight, int, bool]:
        """Put ids that no flight carries on one.

        Returns:
            The flight, the place of the first of them on it, and whether it is a new one, which must be flown.
        """
        flight = self._boarding
        new = flight is None or len(flight.ids) + len(ids) > SEATS
        if flight is None or new:
            flight = self._boarding = Flight(asyncio.get_running_loop().create_future())
        first = len(flight.ids)
        flight.ids += ids
        flight.requests += 1
        self.flights.update(dict.fromkeys(ids, flight))
        return flight, first, new

    async def fly(self, flight: Flight, keep: Callable[[Side, Flight, Rows], None]) -> None:
        """Read what a flight carries, for whoever waits for it; `keep` is told of the rows first."""
        if self._boarding is flight:
            self._boarding = None
        try:
            rows, flight.unread, flight.reading = await self._read(flight.ids, flight.requests)
            keep(self, flight, rows)
            flight.done.set_result(rows)
        except asyncio.CancelledError:
            flight.done.cancel()
            raise
        except Exception as err:
            flight.done.set_exception(err)
            flight.done.exception()  # read it, in case everyone who waited is gone
        finally:
            self._land(flight)

    def keep(self, flight: Flight, rows: Rows, fresh_until: float, announced: HashSlots | None) -> None:
        """Keep what a flight brought, but for what changed meanwhile or could not be read.

        `announced` are the slots of a Cluster whose changes are announced; None for one server.
        """
        ids, group = flight.ids, None if announced is None else self.slot
        if flight.changed or flight.unread is not None or announced is not None:
            unread = (rows.statuses == RowStatus.UNREAD).tolist()
            positions = [
                at
                for at, entity_id in enumerate(ids)
                if entity_id not in flight.changed
                and not unread[at]
                and (announced is None or announced[self.slot(entity_id)])
            ]
            ids, rows = [ids[at] for at in positions], rows.taken(positions)
        self.arena.put(ids, rows, fresh_until, group)

    def slot(self, entity_id: str) -> int:
        """Return the slot of a Cluster that an id's key is in."""
        return key_slot(self._before + entity_id.encode() + self._after)

    def forget_all(self) -> None:
        """Let nothing be kept that is under way."""
        for entity_id in list(self.flights):
            self.forget(entity_id)

    def forget(self, entity_id: str) -> None:
        flight = self.flights.pop(entity_id, None)
        if flight is not None:
            flight.changed.add(entity_id)

    def _land(self, flight: Flight) -> None:
        """Let whoever asks later for what a flight carried start another one, and wake whoever waits for this one."""
        for entity_id in flight.ids:
            if self.flights.get(entity_id) is flight:
                del self.flights[entity_id]
        flight.landed()
