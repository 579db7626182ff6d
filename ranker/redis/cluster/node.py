"""Cluster node: one server of a Cluster and the connections to it."""

from __future__ import annotations

from typing import Any, ClassVar

from redis.exceptions import AskError, ClusterDownError, ResponseError, TryAgainError

from ranker.errors import StoreUnavailable
from ranker.redis.connection import RedisConnections
from ranker.redis.hash_slots import View, read_view
from ranker.redis.url import Address, Host
from ranker.redis.wire.replies import Command


class Node(RedisConnections):
    """The connections to one primary of a Cluster, and a number that no other node had."""

    # MOVED is a kind of AskError for redis-py.
    answers: ClassVar[tuple[type[ResponseError], ...]] = (AskError, TryAgainError, ClusterDownError)

    def __init__(self, address: Address, host: Host, number: int, *, size: int, timeout_s: float) -> None:
        super().__init__(address.at(host), size=size, timeout_s=timeout_s)
        self.host = host
        self.number = number

    async def ask(self, commands: list[Command]) -> list[Any]:
        """Return the replies to commands, in order; MOVED, ASK, TRYAGAIN and CLUSTERDOWN are replies.

        Raises:
            StoreUnavailable: as `RedisConnections.mget`.
        """
        return await self._ask(*commands)

    async def look(self, timeout_s: float) -> View:
        """Return how this node sees the Cluster, also while it counts as down.

        Raises:
            StoreUnavailable: it does not answer, or is no node of a Cluster.
        """
        info, ranges = await self._call((("CLUSTER", "INFO"), ("CLUSTER", "SLOTS")), timeout_s)
        try:
            return read_view(info, ranges, self.host)
        except (TypeError, ValueError) as err:
            raise StoreUnavailable(f"{self.where} does not say who owns which slots ({err})") from err
