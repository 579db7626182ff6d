"""Single-flight read: one read of rows that many requests wait for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from ranker.vectors.rows import Reading, Rows


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
