"""What of one entity is in memory, and the reads that bring the rest.

The race between a read and a change is closed so: every read of missing rows is a flight, known by the ids it reads.
A change takes its id off its flight, so what that flight brings for it answers the requests that asked before the
change and is not kept, and whoever asks later starts another flight. Owns that; knows nothing of stores or Redis.
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

_FOUND, _UNREAD = int(RowStatus.FOUND), int(RowStatus.UNREAD)  # members of an Enum are slow to get


@dataclass(slots=True, eq=False)
class Flight:
    """One read of rows that were not fresh."""

    ids: list[str]
    done: asyncio.Future[Rows]
    """What it brings, in the order of `ids`."""
    kept: set[str] = field(default_factory=set)
    """Ids whose rows may be kept: all, until a change is announced."""
    reading: Reading | None = None
    """How it was read, once it is done."""
    unread: str | None = None
    """Why rows of it could not be read; None when all could."""
    at: dict[str, int] = field(init=False)
    """Id → its place in `ids`."""

    def __post_init__(self) -> None:
        self.at = dict(zip(self.ids, range(len(self.ids)), strict=True))


class Side:
    """The cache of one entity: its arena, and the flights that fill it."""

    def __init__(self, entity: EntitySchema, size_bytes: int, ttl_s: float) -> None:
        self.arena = Arena(entity.width, size_bytes)
        self.ttl_s = ttl_s
        self.flights: dict[str, Flight] = {}
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

    def keep(self, flight: Flight, rows: Rows, fresh_until: float, announced: HashSlots | None) -> None:
        """Keep what a flight brought, but for what changed meanwhile or could not be read.

        `announced` are the slots of a Cluster whose changes are announced; None for one server.
        """
        ids, group = flight.ids, None if announced is None else self.slot
        if len(flight.kept) < len(ids) or flight.unread is not None or announced is not None:
            unread = (rows.statuses == RowStatus.UNREAD).tolist()
            positions = [
                at
                for at, entity_id in enumerate(ids)
                if entity_id in flight.kept
                and not unread[at]
                and (announced is None or announced[self.slot(entity_id)])
            ]
            ids, rows = [ids[at] for at in positions], rows.taken(positions)
        self.arena.put(ids, rows, fresh_until, group)

    def land(self, flight: Flight) -> None:
        """Let whoever asks later for what a flight carried start another one."""
        for entity_id in flight.kept:
            del self.flights[entity_id]
        flight.kept.clear()

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
            flight.kept.discard(entity_id)


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
        self.flights: list[Flight] = []
        self.unread: str | None = None
        """Why some of the rows could not be read, once they are filled in; None when all could."""

    def board(self) -> Flight | None:
        """Join the flights under way; return a new one for the ids that none of them carries."""
        under_way, alone = self.side.flights, self._ids
        carriers = list(map(under_way.get, self._ids))
        if any(carriers):
            positions = self._positions.tolist()
            wanted = list(zip(positions, self._ids, carriers, strict=True))
            self._joined = [(at, entity_id, flight) for at, entity_id, flight in wanted if flight is not None]
            self._own_positions = np.array([at for at, _, flight in wanted if flight is None], np.intp)
            alone = [entity_id for _, entity_id, flight in wanted if flight is None]
            self.flights = list(dict.fromkeys(flight for _, _, flight in self._joined))
        if alone:
            self._own = Flight(alone, asyncio.get_running_loop().create_future(), set(alone))
            under_way.update(dict.fromkeys(alone, self._own))
            self.flights.append(self._own)
        return self._own

    def filled(self) -> Rows:
        """Return all rows, with what the flights brought in place of what was not fresh.

        What could not be read stays as it was last known.
        """
        if not self.flights:
            return self._rows
        values, statuses = self._rows.values, self._rows.statuses
        if self._own is not None:
            brought, positions = self._own.done.result(), self._own_positions
            if self._own.unread is not None:
                self.unread = self._own.unread
                read = np.flatnonzero(brought.statuses != RowStatus.UNREAD)
                brought, positions = brought.taken(read), positions[read]
            values[positions], statuses[positions] = brought.values, brought.statuses
        for position, entity_id, flight in self._joined:
            brought, at = flight.done.result(), flight.at[entity_id]
            status = _FOUND if brought.complete else int(brought.statuses[at])
            if status == _UNREAD:
                self.unread = flight.unread
            else:
                values[position], statuses[position] = brought.values[at], status
        return Rows(values, statuses, np.count_nonzero(statuses) == 0)


def together(flights: Sequence[Flight]) -> Reading | None:
    """Return how several flights were read, as one reading."""
    readings = [flight.reading for flight in flights if flight.reading is not None]
    if not readings:
        return None
    decode_s, requests, keys = zip(*readings, strict=True)
    return Reading(sum(decode_s), max(requests), max(keys))
