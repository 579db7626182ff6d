"""Circuit breakers of a Cluster's nodes as one. Owns when the whole Cluster counts as down."""

from __future__ import annotations

from ranker.errors import StoreUnavailable
from ranker.redis.cluster.topology import Topology


class Breakers:
    """The breakers of all nodes as one: calls pass until every node counts as down."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology

    @property
    def is_open(self) -> bool:
        """Whether any node counts as down now."""
        return any(node.breaker.is_open for node in self._topology.primaries)

    @property
    def openings(self) -> int:
        """Times that a node began to count as down."""
        return self._topology.counts["openings"] + sum(node.breaker.openings for node in self._topology.nodes)

    def raise_if_open(self) -> None:
        """Let a call pass.

        Raises:
            StoreUnavailable: Nobody has said yet who owns which slots, or every node counts as down.
        """
        primaries = self._topology.primaries
        if not primaries:
            raise StoreUnavailable("no node of the Cluster has answered yet")
        if all(node.breaker.is_open for node in primaries):
            primaries[0].breaker.raise_if_open()
