"""Single-flight read: one read of one entity's rows that many requests wait for (the idea of Go's `singleflight`).

What requests of one round of the event loop miss is read together, in the next round: one read for all of them, decoded
and kept at once. The race between a read and a change is closed so: a read is found by the ids it asks for, and a
change takes its id out of that index. What the read brings for it answers the requests that asked before the change and
is not kept, and whoever asks later joins another read. Owns that; knows nothing of stores, arenas or Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ranker.features.reader import ReadRows
from ranker.vectors.rows import Reading, Rows

MAX_SHARED_IDS = 256
"""Ids of one read that requests share; a request that misses more has a read of its own."""

Read = Callable[[Sequence[str], int], Awaitable[ReadRows]]
"""Reads the rows of ids, for so many requests."""


@dataclass(slots=True, eq=False)
class SharedRead:
    """One read of rows that were not fresh."""

    done: asyncio.Future[Rows]
    """The rows, in the order of `ids`; read-only."""
    ids: list[str] = field(default_factory=list)
    requests: int = 0
    """Number that joined it with ids that nobody else had asked for."""
    changed: set[str] = field(default_factory=set)
    """Ids whose rows must not be kept, for a change of them was announced since it began."""
    reading: Reading | None = None
    """Reading, once it is done."""
    unread: str | None = None
    """Reason why some of its rows could not be read; None when all could."""
    _waiters: list[asyncio.Future[None]] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    async def wait(self) -> None:
        """Wait until it is done; raise what the read raised. Whoever gives up waiting leaves the others to it."""
        if not self.done.done():
            waiter: asyncio.Future[None] = self.done.get_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        self.done.result()

    def wake(self) -> None:
        """Wake whoever waits for it."""
        for waiter in self._waiters:
            if not waiter.done():  # its request is gone
                waiter.set_result(None)

    def place(self, entity_id: str) -> int:
        """Return where in `ids` an id is."""
        if not self._places:  # asked for once it has begun, and seldom: most reads bring what nobody else asks for
            self._places = dict(zip(self.ids, range(len(self.ids)), strict=True))
        return self._places[entity_id]


class SharedReads:
    """The reads of one entity that are under way, found by the ids they ask for.

    Args:
        read: Reads rows.
        keep: Told of a read and its rows before whoever waits for them.
        begin: Begins a task.
    """

    def __init__(
        self,
        read: Read,
        keep: Callable[[SharedRead, Rows], None],
        begin: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._read = read
        self._keep = keep
        self._begin = begin
        self._of_id: dict[str, SharedRead] = {}
        self._open: SharedRead | None = None
        """The one that has not begun, and may be joined."""

    def under_way(self, ids: Iterable[str]) -> list[SharedRead | None]:
        """Return the read that asks for each id; None where none does."""
        return list(map(self._of_id.get, ids))

    def join(self, ids: list[str]) -> tuple[SharedRead, int]:
        """Have ids read that no read asks for; return the read, and the place of the first of them in it."""
        shared = self._open
        if shared is None or len(shared.ids) + len(ids) > MAX_SHARED_IDS:
            shared = self._open = SharedRead(asyncio.get_running_loop().create_future())
            self._begin(self._run(shared))
        first = len(shared.ids)
        shared.ids += ids
        shared.requests += 1
        self._of_id.update(dict.fromkeys(ids, shared))
        return shared, first

    def forget(self, entity_id: str) -> None:
        """Let what is being read of an id not be kept, nor given to whoever asks from now on."""
        shared = self._of_id.pop(entity_id, None)
        if shared is not None:
            shared.changed.add(entity_id)

    def forget_all(self) -> None:
        """Do so for every id."""
        for entity_id in list(self._of_id):
            self.forget(entity_id)

    async def _run(self, shared: SharedRead) -> None:
        if self._open is shared:
            self._open = None
        try:
            rows, shared.unread, shared.reading = await self._read(shared.ids, shared.requests)
            rows.values.flags.writeable = False  # several have them as they lie
            self._keep(shared, rows)
            shared.done.set_result(rows)
        except asyncio.CancelledError:
            shared.done.cancel()
            raise
        except Exception as err:
            shared.done.set_exception(err)
            shared.done.exception()  # read it, in case everyone who waited is gone
        finally:
            self._finish(shared)

    def _finish(self, shared: SharedRead) -> None:
        """Let whoever asks later for these ids have them read anew, and wake whoever waits."""
        for entity_id in shared.ids:
            if self._of_id.get(entity_id) is shared:
                del self._of_id[entity_id]
        shared.wake()


def merged(readings: Sequence[Reading]) -> Reading | None:
    """Return how several reads were made, as one reading; None where there were none."""
    if len(readings) < 2:
        return readings[0] if readings else None
    decode_s, requests, keys = zip(*readings, strict=True)
    return Reading(sum(decode_s), max(requests), max(keys))
