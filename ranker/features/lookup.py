"""What one request misses of one entity, and how it gets it: from flights under way, and from one that it boards.

Owns which row comes from where; what a flight is, `flights` says.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ranker.features.entity_cache import Side
from ranker.features.shared_read import Flight
from ranker.vectors.rows import Reading, Rows, RowStatus

_FOUND, _UNREAD = int(RowStatus.FOUND), int(RowStatus.UNREAD)  # members of an Enum are slow to get


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
