"""Lookup of one request's rows of one entity: fresh ones from the arena, the rest from shared reads.

Owns which row comes from where.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ranker.features.near_cache.arena import Arena
from ranker.features.shared_read import SharedRead, SharedReads
from ranker.vectors.rows import Rows, RowStatus

_FOUND, _MISSING, _UNREAD = map(int, (RowStatus.FOUND, RowStatus.MISSING, RowStatus.UNREAD))  # members are slow to get


class Lookup:
    """The rows of n ids: taken from the arena where they are fresh at the time `now`, else from reads that it joins.

    Attributes:
        hits: How many were fresh.
        misses: How many were not.
        reads: What to wait for before `rows`.
        unread: Why some of the rows could not be read, once `rows` were asked for; None when all could.
    """

    def __init__(self, arena: Arena, reads: SharedReads, ids: Sequence[str], now: float) -> None:
        slots = arena.slots(ids)
        (positions,) = arena.stale(slots, now).nonzero()
        self.misses = len(positions)
        if self.misses == len(ids) > 1 and slots.min() == arena.capacity:
            self._rows = Rows.missing(len(ids), arena.width)
        else:  # copied before any wait, for then a slot may go to another id
            self._rows = arena.rows(slots)
        self.hits = len(ids) - self.misses
        self.reads: list[SharedRead] = []
        self.unread: str | None = None
        self._joined: list[tuple[int, str, SharedRead]] = []
        """Positions and ids, with the reads of others that bring them."""
        self._own: SharedRead | None = None
        """What brings the ids that nobody else had asked for: those at `_own_positions`, from `_own_first` on."""
        self._own_first = 0
        self._own_positions = positions
        if self.misses:
            self._join(reads, [ids[i] for i in positions.tolist()])

    def _join(self, reads: SharedReads, missed: list[str]) -> None:
        alone = missed
        under_way = reads.under_way(missed)
        if any(under_way):
            wanted = list(zip(self._own_positions.tolist(), missed, under_way, strict=True))
            self._joined = [(at, entity_id, read) for at, entity_id, read in wanted if read is not None]
            self._own_positions = np.array([at for at, _, read in wanted if read is None], np.intp)
            alone = [entity_id for _, entity_id, read in wanted if read is None]
            self.reads = list(dict.fromkeys(read for _, _, read in self._joined))
        if alone:
            self._own, self._own_first = reads.join(alone)
            if self._own not in self.reads:
                self.reads.append(self._own)

    def rows(self) -> Rows:
        """Return all n rows, with what the reads brought in place of what was not fresh.

        What could not be read stays as it was last known; what is not known is `UNREAD`, not missing. Rows of one read
        that are all found lie where it has them, beside others'.
        """
        if not self.reads:
            return self._rows
        values, statuses = self._rows.values, self._rows.statuses
        if self._own is not None:
            brought, positions, first = self._own.done.result(), self._own_positions, self._own_first
            places = slice(first, first + len(positions))
            brought_values, brought_statuses = brought.values[places], brought.statuses[places]
            if brought.complete and len(positions) == len(statuses):
                return Rows(brought_values, brought_statuses, complete=True)  # as they lie
            if self._own.unread is not None:
                is_unread = brought_statuses == _UNREAD
                if is_unread.any():
                    self.unread = self._own.unread
                    taken = ~is_unread | (statuses[positions] == _MISSING)
                    positions = positions[taken]
                    brought_values, brought_statuses = brought_values[taken], brought_statuses[taken]
            values[positions], statuses[positions] = brought_values, brought_statuses
        for position, entity_id, shared in self._joined:
            brought, at = shared.done.result(), shared.place(entity_id)
            status = _FOUND if brought.complete else int(brought.statuses[at])
            if status == _UNREAD:
                self.unread = shared.unread
            if status != _UNREAD or statuses[position] == _MISSING:
                values[position], statuses[position] = brought.values[at], status
        return Rows(values, statuses, np.count_nonzero(statuses) == 0)
