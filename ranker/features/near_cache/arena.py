"""Arena: decoded rows of one entity in one contiguous block; id → slot in a few array operations, CLOCK eviction.

Owns memory, freshness and eviction. What is put is written later, and before anything else is done with the arena: to
write costs others' time, and changes nothing that they see. Knows nothing of stores or Redis, and has no lock: every
method runs to its end between two awaits.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import repeat

import numpy as np
import numpy.typing as npt

from ranker.vectors.rows import Matrix, Rows, RowStatus

Slots = npt.NDArray[np.intp]
"""Positions in an arena; `capacity` stands for an id that has none."""
Group = Callable[[str], int]
"""Gives the group of an id, such as its hash slot."""

ENTRY_BYTES = 250
"""Cost of an entry beside its values: the id, its place in the dictionary and the list, and the arrays' cells."""


def capacity(width: int, size_bytes: int) -> int:
    """Return how many rows of W float32 values fit into so much memory; at least one."""
    return max(1, size_bytes // _row_bytes(width))


def _row_bytes(width: int) -> int:
    return 4 * width + ENTRY_BYTES


def _make_room(rows: int, width: int) -> Matrix:
    """Return zeros, shape (rows, width), in memory that is taken page by page, as rows are first written.

    numpy asks for huge pages; the kernel clears 2 MB when a byte of one is first written: milliseconds of a request.
    """
    if sys.platform != "linux":
        return np.zeros((rows, width), dtype=np.float32)
    memory = mmap.mmap(-1, max(1, 4 * rows * width), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without huge pages
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, np.float32, rows * width).reshape(rows, width)


class Arena:
    """Up to `capacity` rows of W float32 values, each with a status and the time until which it counts as fresh.

    A row that is no longer fresh keeps its values, to be shown when nothing better can be had. Eviction is CLOCK
    (Corbató, "A Paging Experiment with the Multics System", 1968): a row is marked when it is used again, and the hand
    takes the first that is not, so one pass over the whole catalogue does not drive out what is in use.

    Args:
        width: W.
        size_bytes: About how much memory to take, at most.
    """

    def __init__(self, width: int, size_bytes: int) -> None:
        self._row_bytes = _row_bytes(width)
        self.width = width
        self.capacity = capacity(width, size_bytes)
        # One row more than capacity: ids without a slot are looked up there, and it is never fresh.
        self._values = _make_room(self.capacity + 1, width)
        self._statuses = np.full(self.capacity + 1, RowStatus.MISSING, dtype=np.uint8)
        self._fresh_until = np.full(self.capacity + 1, -np.inf)
        self._used = np.zeros(self.capacity + 1, dtype=np.bool_)
        self._groups = np.zeros(self.capacity + 1, dtype=np.uint16)
        self._slot_of: dict[str, int] = {}
        self._id_at: list[str] = []
        self._hand = 0
        self._evictions = 0
        self._waiting: list[tuple[Sequence[str], Rows, float, Group | None]] = []
        """What was put and is not written."""

    def __len__(self) -> int:
        self.settle()
        return len(self._id_at)

    @property
    def evictions(self) -> int:
        """Rows that gave way to others so far."""
        self.settle()
        return self._evictions

    @property
    def bytes_held(self) -> int:
        """About how much memory the rows take that are there."""
        return len(self) * self._row_bytes

    def slots(self, ids: Sequence[str]) -> Slots:
        """Return the slot of each id, shape (n,); `capacity` where it has none."""
        if self._waiting:
            self.settle()
        return np.fromiter(map(self._slot_of.get, ids, repeat(self.capacity)), np.intp, len(ids))

    def stale(self, slots: Slots, now: float) -> npt.NDArray[np.bool_]:
        """Return which slots hold nothing fresh at the time `now`, shape (n,)."""
        return self._fresh_until[slots] <= now

    def rows(self, slots: Slots) -> Rows:
        """Copy the rows out and mark them as used."""
        self._used[slots] = True
        statuses = self._statuses[slots]
        return Rows(self._values.take(slots, axis=0), statuses, np.count_nonzero(statuses) == 0)

    def last_known(self, ids: Sequence[str]) -> Rows:
        """Copy out the rows of ids that cannot be read, fresh or not: `UNREAD` where none is known."""
        rows = self.rows(self.slots(ids))
        rows.statuses[rows.statuses == RowStatus.MISSING] = RowStatus.UNREAD
        return rows

    def put(self, ids: Sequence[str], rows: Rows, fresh_until: float, group: Group | None = None) -> None:
        """Keep rows under their distinct ids: written when `settle` is called, and must stay as they are until then.

        `group` gives the group of an id for `expire_groups`.
        """
        self._waiting.append((ids, rows, fresh_until, group))

    def settle(self) -> None:
        """Write what was put."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                self._write(*one)

    def _write(self, ids: Sequence[str], rows: Rows, fresh_until: float, group: Group | None) -> None:
        for entity_id in ids:
            if entity_id not in self._slot_of:
                self._claim(entity_id)
        slots, values, statuses = self.slots(ids), rows.values, rows.statuses
        held = slots != self.capacity
        if not held.all():  # a claim may have driven out another of these ids, whose slot is somebody else's now
            slots, values, statuses = slots[held], values[held], statuses[held]
            ids = [entity_id for entity_id in ids if entity_id in self._slot_of]
        self._values[slots] = values
        self._statuses[slots] = statuses
        self._fresh_until[slots] = fresh_until
        if group is not None:
            self._groups[slots] = [group(entity_id) for entity_id in ids]

    def clear(self) -> None:
        """Hold nothing."""
        self.settle()
        self._slot_of.clear()
        self._id_at.clear()
        self._hand = 0
        self.expire_all()

    def expire(self, entity_id: str) -> None:
        """Let an id's row no longer count as fresh."""
        self.settle()
        slot = self._slot_of.get(entity_id)
        if slot is not None:
            self._fresh_until[slot] = -np.inf

    def expire_all(self) -> None:
        """Let no row count as fresh."""
        self.settle()
        self._fresh_until[:] = -np.inf

    def expire_groups(self, groups: npt.NDArray[np.bool_]) -> None:
        """Let no row of these groups count as fresh; shape (number of groups,)."""
        held = len(self)  # what lies behind is empty, and may be the most of it
        self._fresh_until[:held][groups[self._groups[:held]]] = -np.inf

    def _claim(self, entity_id: str) -> int:
        slot = len(self._id_at)
        if slot < self.capacity:
            self._id_at.append(entity_id)
        else:
            while self._used[self._hand]:
                self._used[self._hand] = False
                self._hand = (self._hand + 1) % self.capacity
            slot, self._hand = self._hand, (self._hand + 1) % self.capacity
            del self._slot_of[self._id_at[slot]]
            self._id_at[slot] = entity_id
            self._evictions += 1
        self._slot_of[entity_id] = slot
        self._used[slot] = False
        return slot
