"""Cluster topology as a worker knows it: the connections to each primary, and who owns which hash slots.

The nodes are asked at the start, when one answers that a slot is elsewhere (MOVED), when one does not answer, and
once a second, for a slot may move without a word to those who cache what was in it. All who want to know share one
question at a time. Owns that knowledge; what is read is `connections`' business.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from itertools import chain, count
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ranker.errors import StoreUnavailable
from ranker.process import background
from ranker.redis.cluster.node import Node
from ranker.redis.hash_slots import SLOTS, HashSlots, View
from ranker.redis.url import Address, Host

logger = logging.getLogger("ranker.topology")

LOOK_S = 1.0
"""Interval at which the nodes are asked who owns which slots, when nothing else asks for it."""
PAUSE_S = 0.1
"""The least time between two such questions, in trouble."""


class Watcher(Protocol):
    """Listener that is told when slots move."""

    def moved(self, slots: HashSlots, *, settled: bool) -> None:
        """Another node owns these slots than before, or may answer for them; `settled`: who, is known."""


class Topology:
    """Map of a Cluster, kept up to date: its primaries, and the slots of each.

    Args:
        address: Of kind `cluster`.
        size: The most connections to a node.
        timeout_s: The bound on one call, in seconds.

    Attributes:
        owners: The primary that owns each slot; None for a slot that nobody owns, or while nothing is known.
        primaries: All of them.
        watchers: Who is told of moves.
        counts: Connections opened and openings of breakers, of nodes that are gone.
        failures: Failed calls of nodes that are gone, by `Failure`.
    """

    def __init__(self, address: Address, *, size: int, timeout_s: float) -> None:
        self._address = address
        self._size = size
        self._timeout_s = timeout_s
        self._nodes: dict[Host, Node] = {}
        self._numbers = count()
        self._owner_numbers: npt.NDArray[np.int64] = np.full(SLOTS, -1, dtype=np.int64)  # `owners`, for numpy
        self._epoch = -1
        self._unsettled: HashSlots = np.zeros(SLOTS, dtype=np.bool_)
        self._wanted = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._closing = background.Tasks("topology")
        self.owners: list[Node | None] = [None] * SLOTS
        self.primaries: list[Node] = []
        self.watchers: list[Watcher] = []
        self.counts: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    @property
    def nodes(self) -> list[Node]:
        """The nodes there are connections to: the primaries, and where slots are just moving to."""
        return list(self._nodes.values())

    def slots_of(self, node: Node) -> HashSlots:
        """Return the slots that a node owns."""
        slots: HashSlots = self._owner_numbers == node.number
        return slots

    def settled_slots_of(self, node: Node) -> HashSlots:
        """Return those of its slots that are not just moving."""
        return self.slots_of(node) & ~self._unsettled

    def node(self, host: Host) -> Node:
        """Return the connections to a node that announces itself as this, opened on demand.

        Raises:
            StoreUnavailable: No node can be there.
        """
        return self._at(self._address.reached(host))

    def _at(self, host: Host) -> Node:
        """Return the connections to what is reached there, opened on demand."""
        found = self._nodes.get(host)
        if found is None:
            number = next(self._numbers)
            try:
                found = Node(self._address, host, number, size=self._size, timeout_s=self._timeout_s)
            except ValueError:
                raise StoreUnavailable(f"a node is said to be at {host!r}") from None
            self._nodes[host] = found
        return found

    async def open(self, timeout_s: float) -> None:
        """Ask who owns which slots, and open the connections to them.

        Raises:
            StoreUnavailable: nobody answers that.
        """
        await self.look(timeout_s)
        self.start()

    def start(self) -> None:
        """Begin to keep knowing."""
        if self._looking is None:
            self._looking = background.keep("topology", self._keep_looking)

    async def close(self) -> None:
        await background.cancel(self._looking)
        await self._closing.wait()
        await asyncio.gather(*(node.close() for node in self._nodes.values()))

    def look_soon(self) -> None:
        """Have the nodes asked; what was asked a moment ago is not asked at once again."""
        self._wanted.set()

    def moved(self, slot: int, host: Host) -> None:
        """Note that a node said who owns a slot; raise StoreUnavailable as `node`."""
        node = self.node(host)
        if self.owners[slot] is not node:
            self.owners[slot], self._owner_numbers[slot] = node, node.number
            self._tell(_mark(slot), settled=False)
        self.look_soon()

    def moving(self, slot: int) -> None:
        """Note that a slot is just moving, so that either of two nodes may answer for it."""
        if not self._unsettled[slot]:  # every read of it says so
            self._tell(_mark(slot), settled=False)

    async def look(self, timeout_s: float) -> None:
        """Ask one node after another, until one knows as much as is known here, and take over what it says.

        Raises:
            StoreUnavailable: none answers.
        """
        asked = random.sample(self.primaries, len(self.primaries))
        asked.sort(key=lambda node: node.breaker.is_open)
        known = {node.host for node in asked}
        # Connections to the URL's nodes are made only where the primaries do not suffice: it may name replicas.
        others = (self._at(host) for host in self._address.hosts if host not in known)
        newest: View | None = None
        reason = ""
        for node in chain(asked, others):
            try:
                seen = await node.look(timeout_s)
            except StoreUnavailable as err:
                reason = err.reason
                continue
            if newest is None or seen.epoch > newest.epoch:
                newest = seen
            if newest.epoch >= self._epoch and newest.primaries:
                break
        if newest is None or not newest.primaries:
            raise StoreUnavailable(reason or f"{self._address.where} has no slots")
        self._take_over(newest)

    def _take_over(self, seen: View) -> None:
        self.primaries = [self.node(host) for host in seen.primaries]
        self._epoch = seen.epoch
        # -1, for no owner, is the place of the last.
        numbers = np.array([*(node.number for node in self.primaries), -1])[seen.owners]
        changed: HashSlots = numbers != self._owner_numbers
        owners = (*self.primaries, None)
        for slot in changed.nonzero()[0].tolist():
            self.owners[slot] = owners[seen.owners[slot]]
        self._owner_numbers = numbers
        changed |= self._unsettled
        if changed.any():
            self._tell(changed, settled=True)
        for host in self._nodes.keys() - {node.host for node in self.primaries}:
            self._let_go(self._nodes.pop(host))

    def _let_go(self, node: Node) -> None:
        self.counts["opened"] += node.opened
        self.counts["openings"] += node.breaker.openings
        self.failures.update(node.failures)
        self._closing.begin(node.close())

    def _tell(self, slots: HashSlots, *, settled: bool) -> None:
        self._unsettled = self._unsettled & ~slots if settled else self._unsettled | slots
        for watcher in self.watchers:
            watcher.moved(slots, settled=settled)

    async def _keep_looking(self) -> None:
        failed = not self.primaries
        while True:
            if not failed:
                try:
                    async with asyncio.timeout(LOOK_S * random.uniform(0.8, 1.0)):
                        await self._wanted.wait()
                except TimeoutError:
                    pass
            self._wanted.clear()
            try:
                await self.look(self._timeout_s)
            except StoreUnavailable as err:
                if not failed:
                    logger.warning("%s cannot be asked who owns which slots (%s)", self._address.where, err.reason)
                failed = True
            else:
                failed = False
            await asyncio.sleep(PAUSE_S * random.uniform(0.5, 1.0))


def _mark(slot: int) -> HashSlots:
    slots = np.zeros(SLOTS, dtype=np.bool_)
    slots[slot] = True
    return slots
