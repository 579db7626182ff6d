"""Cluster invalidation: a tracking connection to each primary, and the slots that each speaks for.

A row may be kept while the node that answers for its slot announces changes. When that connection is lost, when a
slot moves, or while it is moving, what is in these slots counts as changed. Owns that bookkeeping; `redis.invalidation`
has the connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ranker.process import background
from ranker.redis.cluster.node import Node
from ranker.redis.cluster.topology import Topology
from ranker.redis.hash_slots import HashSlots
from ranker.redis.invalidation import Listener, Tracking
from ranker.redis.url import Address


class ClusterTracking:
    """Keeps a tracking connection to every primary, and tells the listener.

    Args:
        address: Of kind `cluster`.
        topology: Who owns which slots.
        prefixes, listener, on_refused, timeout_s: as for `Tracking`.
    """

    def __init__(
        self,
        address: Address,
        topology: Topology,
        prefixes: Sequence[str],
        listener: Listener,
        on_refused: Callable[[str], None],
        *,
        timeout_s: float,
    ) -> None:
        self._address = address
        self._topology = topology
        self._prefixes = prefixes
        self._listener = listener
        self._on_refused = on_refused
        self._timeout_s = timeout_s
        self._trackings: dict[Node, _NodeTracking] = {}
        self._refused = False

    async def run(self) -> None:
        """Track until cancelled."""
        self._topology.watchers.append(self)
        self._topology.start()
        try:
            self._follow_primaries()
            await asyncio.get_running_loop().create_future()
        finally:
            self._topology.watchers.remove(self)
            tasks = [tracking.task for tracking in self._trackings.values()]
            self._trackings.clear()
            await background.cancel(*tasks)

    def moved(self, slots: HashSlots, *, settled: bool) -> None:
        """Count what is in slots that move as changed; once they are settled, who has them speaks for them."""
        self._listener.tracking_lost(slots)
        if not settled:
            return
        self._follow_primaries()
        for node, tracking in self._trackings.items():
            if tracking.is_on and (gained := slots & self._topology.slots_of(node)).any():
                self._listener.tracking_began(gained)

    def _follow_primaries(self) -> None:
        """Have a connection to every primary, and to nobody else."""
        primaries = self._topology.primaries
        for node in self._trackings.keys() - set(primaries):
            self._trackings.pop(node).task.cancel()
        for node in primaries:
            if node not in self._trackings:
                self._trackings[node] = _NodeTracking(self, node)

    def began(self, node: Node) -> None:
        """Note that a node announces changes."""
        self._listener.tracking_began(self._topology.settled_slots_of(node))

    def lost(self, node: Node) -> None:
        """Note that a node may have changed something without a word, such as by having died."""
        self._listener.tracking_lost(self._topology.slots_of(node))
        self._topology.look_soon()

    def changed(self, keys: Sequence[bytes] | None) -> None:
        """Pass on what changed."""
        self._listener.changed(keys)

    def refused(self, reason: str) -> None:
        """Note that a node does not offer tracking; one says so for all."""
        if not self._refused and not any(tracking.is_on for tracking in self._trackings.values()):
            self._refused = True
            self._on_refused(reason)

    def track(self, node: Node, listener: Listener) -> Tracking:
        """Return the tracking of one node."""
        url, timeout_s = self._address.at(node.host), self._timeout_s
        return Tracking(url, self._prefixes, listener, self.refused, timeout_s=timeout_s, same_server=node.same_server)


class _NodeTracking:
    """One node's tracking: turns what it says of itself into what it says of its slots."""

    def __init__(self, tracking: ClusterTracking, node: Node) -> None:
        self._all = tracking
        self._node = node
        self.is_on = False
        self.task = background.keep("tracking", tracking.track(node, self).run)

    def tracking_began(self, slots: HashSlots | None = None) -> None:
        self.is_on = True
        self._all.began(self._node)

    def tracking_lost(self, slots: HashSlots | None = None) -> None:
        self.is_on = False
        self._all.lost(self._node)

    def changed(self, keys: Sequence[bytes] | None) -> None:
        self._all.changed(keys)
