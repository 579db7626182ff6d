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
        positions = [i for i, entity_id in enumerate(flight.ids) if entity_id in flight.kept]
        if flight.unread is not None:
            unread = rows.statuses == RowStatus.UNREAD
            positions = [i for i in positions if not unread[i]]
        if announced is None:
            self.arena.put(flight.ids, rows, positions, fresh_until)
            return
        positions = [i for i in positions if announced[self.slot(flight.ids[i])]]
        self.arena.put(flight.ids, rows, positions, fresh_until, self.slot)

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
        self.flights: list[Flight] = []

    def board(self) -> Flight | None:
        """Join the flights under way; return a new one for the ids that none of them carries."""
        under_way = self.side.flights
        joined = {flight: None for i in self._ids if (flight := under_way.get(i))}
        self.flights += joined
        alone = [i for i in self._ids if i not in under_way]
        if not alone:
            return None
        flight = Flight(alone, asyncio.get_running_loop().create_future(), set(alone))
        under_way.update(dict.fromkeys(alone, flight))
        self.flights.append(flight)
        return flight

    @property
    def unread(self) -> str | None:
        """Why rows could not be read; None when all could."""
        return next((flight.unread for flight in self.flights if flight.unread is not None), None)

    def filled(self) -> Rows:
        """Return all rows, with what the flights brought in place of what was not fresh.

        What could not be read stays as it was last known.
        """
        if not self.flights:
            return self._rows
        values, statuses = self._rows.values, self._rows.statuses
        if len(self.flights) == 1 and self.flights[0].ids == self._ids and self.unread is None:
            brought = self.flights[0].done.result()
            values[self._positions], statuses[self._positions] = brought.values, brought.statuses
        else:
            source = {i: (flight.done.result(), at) for flight in self.flights for at, i in enumerate(flight.ids)}
            unread = RowStatus.UNREAD  # an Enum's members are slow to get
            for position, entity_id in zip(self._positions, self._ids, strict=True):
                brought, at = source[entity_id]
                if brought.statuses[at] != unread:
                    values[position], statuses[position] = brought.values[at], brought.statuses[at]
        return Rows(values, statuses, np.count_nonzero(statuses) == 0)


def together(flights: Sequence[Flight]) -> Reading | None:
    """Return how several flights were read, as one reading."""
    readings = [flight.reading for flight in flights if flight.reading is not None]
    if not readings:
        return None
    decode_s, requests, keys = zip(*readings, strict=True)
    return Reading(sum(decode_s), max(requests), max(keys))
