"""What of one entity is in memory, and the reads that bring the rest.

What requests of one round of the event loop miss goes on one flight, which departs in the next: one read for all of
them, decoded and kept at once. The race between a read and a change is closed so: a flight is known by the ids it
reads. A change takes its id off its flight, so what that flight brings for it answers the requests that asked before
the change and is not kept, and whoever asks later boards another flight. Owns that; knows nothing of stores or Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ranker.arena import Arena
from ranker.encoding import Rows, RowStatus
from ranker.schema import EntitySchema
from ranker.slots import HashSlots, key_slot
from ranker.timings import Reading

SEATS = 256
"""Ids that may board a flight beside others; a request that misses more has a flight of its own."""
_FOUND, _UNREAD = int(RowStatus.FOUND), int(RowStatus.UNREAD)  # members of an Enum are slow to get


@dataclass(slots=True, eq=False)
class Flight:
    """One read of rows that were not fresh."""

    done: asyncio.Future[Rows]
    """What it brings, in the order of `ids`."""
    ids: list[str] = field(default_factory=list)
    requests: int = 0
    """How many boarded it."""
    changed: set[str] = field(default_factory=set)
    """Ids whose rows must not be kept, for a change of them was announced since it began."""
    reading: Reading | None = None
    """How it was read, once it is done."""
    unread: str | None = None
    """Why rows of it could not be read; None when all could."""
    _waiters: list[asyncio.Future[None]] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    async def landing(self) -> None:
        """Wait until it is done; raise what the read raised. Whoever gives up waiting leaves the others to it."""
        if not self.done.done():
            waiter: asyncio.Future[None] = self.done.get_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        self.done.result()

    def landed(self) -> None:
        """Wake whoever waits for it."""
        for waiter in self._waiters:
            if not waiter.done():  # its request is gone
                waiter.set_result(None)

    def place(self, entity_id: str) -> int:
        """Return where in `ids` an id is."""
        if not self._places:  # asked for once it has departed, and seldom: most flights carry what nobody else asks for
            self._places = dict(zip(self.ids, range(len(self.ids)), strict=True))
        return self._places[entity_id]


class Side:
    """The cache of one entity: its arena, and the flights that fill it."""

    def __init__(self, entity: EntitySchema, size_bytes: int, ttl_s: float) -> None:
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

    def depart(self, flight: Flight) -> None:
        """Let nobody board it any more."""
        if self._boarding is flight:
            self._boarding = None

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

    def land(self, flight: Flight) -> None:
        """Let whoever asks later for what a flight carried start another one, and wake whoever waits for this one."""
        for entity_id in flight.ids:
            if self.flights.get(entity_id) is flight:
                del self.flights[entity_id]
        flight.landed()

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


class Missing:
    """The rows of one request on one side: those that are fresh, and the flights that bring the others."""

    def __init__(self, side: Side, ids: Sequence[str], now: float) -> None:
        self.side = side
        slots = side.arena.slots(ids)
        # Copied before any wait, for then a slot may go to another id.
        self._rows = side.arena.rows(slots)
        (self._positions,) = side.arena.stale(slots, now).nonzero()
        self._ids = [ids[i] for i in self._positions.tolist()]
        self.count = len(self._ids)
        self.held = len(ids) - self.count
        self._joined: list[tuple[int, str, Flight]] = []
        """Positions, ids and flights of others that bring them."""
        self._own: Flight | None = None
        self._own_positions = self._positions
        self._own_first = 0
        """The place on it of the first of the ids that nobody else had asked for."""
        self.flights: list[Flight] = []
        self.unread: str | None = None
        """Why some of the rows could not be read, once they are filled in; None when all could."""

    def board(self) -> Flight | None:
        """Join the flights that carry what is missing, and board one with the rest; return that one if it is new."""
        if not self._ids:
            return None
        alone = self._ids
        carriers = list(map(self.side.flights.get, self._ids))
        if any(carriers):
            positions = self._positions.tolist()
            wanted = list(zip(positions, self._ids, carriers, strict=True))
            self._joined = [(at, entity_id, flight) for at, entity_id, flight in wanted if flight is not None]
            self._own_positions = np.array([at for at, _, flight in wanted if flight is None], np.intp)
            alone = [entity_id for _, entity_id, flight in wanted if flight is None]
            self.flights = list(dict.fromkeys(flight for _, _, flight in self._joined))
        if not alone:
            return None
        self._own, self._own_first, new = self.side.board(alone)
        if self._own not in self.flights:
            self.flights.append(self._own)
        return self._own if new else None

    def filled(self) -> Rows:
        """Return all rows, with what the flights brought in place of what was not fresh.

        What could not be read stays as it was last known.
        """
        if not self.flights:
            return self._rows
        values, statuses = self._rows.values, self._rows.statuses
        if self._own is not None:
            brought, positions, first = self._own.done.result(), self._own_positions, self._own_first
            seats = slice(first, first + len(positions))
            brought_values, brought_statuses = brought.values[seats], brought.statuses[seats]
            if self._own.unread is not None:
                (read,) = (brought_statuses != _UNREAD).nonzero()
                if len(read) < len(positions):
                    self.unread = self._own.unread
                    positions = positions[read]
                    brought_values, brought_statuses = brought_values[read], brought_statuses[read]
            values[positions], statuses[positions] = brought_values, brought_statuses
        for position, entity_id, flight in self._joined:
            brought, at = flight.done.result(), flight.place(entity_id)
            status = _FOUND if brought.complete else int(brought.statuses[at])
            if status == _UNREAD:
                self.unread = flight.unread
            else:
                values[position], statuses[position] = brought.values[at], status
        return Rows(values, statuses, np.count_nonzero(statuses) == 0)


def together(flights: Sequence[Flight]) -> Reading | None:
    """Return how several flights were read, as one reading."""
    readings = [flight.reading for flight in flights if flight.reading is not None]
    if len(readings) < 2:
        return readings[0] if readings else None
    decode_s, requests, keys = zip(*readings, strict=True)
    return Reading(sum(decode_s), max(requests), max(keys))
