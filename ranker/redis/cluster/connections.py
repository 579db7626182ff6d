"""Cluster reads: the keys of many requests, by slot, in one round trip to each primary; redirections are followed.

A Cluster answers an MGET only for keys of one slot, so each slot's keys are an MGET of their own, and all that go to
one node are sent together. A node that does not answer costs what lives there, and nothing else: those values are
`Unread`. Owns splitting, redirection and putting together; who owns which slots, `topology` knows.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

from redis.exceptions import AskError, MovedError, ResponseError, TryAgainError

from ranker.errors import StoreUnavailable
from ranker.redis.cluster.breakers import Breakers
from ranker.redis.cluster.node import Node
from ranker.redis.cluster.topology import Topology
from ranker.redis.connection import OPEN_TIMEOUT_S
from ranker.redis.hash_slots import key_slot, key_slots
from ranker.redis.url import Address
from ranker.redis.wire.replies import Command, HashKey
from ranker.vectors.rows import Key, Unread

REDIRECTIONS = 4
"""Times that a question is asked again elsewhere: a slot that moves may say MOVED, ASK, TRYAGAIN and MOVED in turn."""
ASKING: Command = ("ASKING",)
UNOWNED = Unread("no node of the Cluster owns the slot")
MOVED_TOO_OFTEN = Unread("the slot is moving, and no node answered for it in time")


class Question(NamedTuple):
    """One command, and the positions of its values in the whole answer; `asking` a node that does not own the slot."""

    slot: int
    command: Command
    positions: list[int]
    asking: bool = False

    def fill(self, values: list[Any], value: Unread) -> None:
        """Put the same at all positions."""
        for position in self.positions:
            values[position] = value

    def of(self, i: int) -> Question:
        """Return an MGET's question for one of its keys."""
        return Question(self.slot, ("MGET", self.command[1 + i]), [self.positions[i]], self.asking)


class ClusterConnections:
    """At most `size` connections to each primary of a Cluster; the questions of `RedisConnections`.

    Args:
        address: Of kind `cluster`.
        size: The most connections to one node at a time.
        timeout_s: The bound on one call, redirections included, in seconds.

    Attributes:
        topology: Who owns which slots.
        breaker: The nodes' breakers as one.
    """

    def __init__(self, address: Address, *, size: int, timeout_s: float) -> None:
        self.where = address.where
        self._size = size
        self._timeout_s = timeout_s
        self.topology = Topology(address, size=size, timeout_s=timeout_s)
        self.breaker = Breakers(self.topology)

    @property
    def opened(self) -> int:
        """Connections opened so far."""
        return self.topology.counts["opened"] + sum(node.opened for node in self.topology.nodes)

    @property
    def failures(self) -> Counter[str]:
        """Failed calls so far, probes included, by `Failure`."""
        return sum((node.failures for node in self.topology.nodes), self.topology.failures)

    async def mget(self, keys: Sequence[Key]) -> list[bytes | Unread | None]:
        """Return the values of n keys in order, as `RedisConnections.mget`; `Unread` where a node does not answer.

        Raises:
            StoreUnavailable: no node answers.
        """
        by_slot: dict[int, list[int]] = {}
        for position, slot in enumerate(key_slots(keys)):
            by_slot.setdefault(slot, []).append(position)
        questions = [
            # Nearly every slot has one key, for which building this takes half as long.
            Question(slot, ("MGET", keys[at[0]]) if len(at) == 1 else ("MGET", *[keys[i] for i in at]), at)
            for slot, at in by_slot.items()
        ]
        return await self._answers(questions, len(keys))

    async def mget_and_hmget(
        self, strings: Sequence[Key], hashes: Sequence[HashKey]
    ) -> tuple[list[bytes | Unread | None], list[list[bytes | None] | Unread]]:
        """Return the values of strings, as `mget`, and of hashes their fields, in one round trip to each node.

        Raises:
            StoreUnavailable: no node answers.
        """
        n = len(strings)
        questions = [Question(key_slot(key), ("MGET", key), [i]) for i, key in enumerate(strings)]
        for i, (key, fields) in enumerate(hashes, n):
            questions.append(Question(key_slot(key), ("HMGET", key, *fields), [i]))
        answers = await self._answers(questions, n + len(hashes))
        return answers[:n], answers[n:]

    async def ping(self) -> None:
        """Have the Cluster say who owns which slots, and each primary answer.

        Raises:
            StoreUnavailable: nobody answers.
        """
        await self.topology.look(self._timeout_s)
        pings = await asyncio.gather(*(node.ping() for node in self.topology.primaries), return_exceptions=True)
        failures = [result for result in pings if isinstance(result, BaseException)]
        if len(failures) == len(pings):
            raise failures[0]

    async def open(self) -> None:
        """Open all connections, so that no request pays for it; a node that is down is left to its breaker.

        Raises:
            StoreUnavailable: no node answers.
        """
        try:
            await self.topology.open(max(OPEN_TIMEOUT_S, self._timeout_s))
        finally:
            self.topology.start()
        opened = await asyncio.gather(*(node.open() for node in self.topology.primaries), return_exceptions=True)
        for result in opened:
            if isinstance(result, BaseException) and not isinstance(result, StoreUnavailable):
                raise result

    async def close(self) -> None:
        await self.topology.close()

    async def _answers(self, questions: list[Question], count: int) -> list[Any]:
        """Ask each question where it belongs, and again where a node says it does; return `count` values in order."""
        values: list[Any] = [MOVED_TOO_OFTEN] * count
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        by_node: defaultdict[Node, list[Question]] = defaultdict(list)
        owners = self.topology.owners
        for question in questions:
            node = owners[question.slot]
            if node is None:
                self.topology.look_soon()
                question.fill(values, UNOWNED)
            else:
                by_node[node].append(question)
        for asked in range(1 + REDIRECTIONS):
            try:
                # The first time every node has a bound of its own, which opens its breaker.
                async with asyncio.timeout_at(deadline if asked else None):
                    asking = [self._ask(node, part, values) for node, part in by_node.items()]
                    again = await asyncio.gather(*asking) if len(asking) > 1 else [await each for each in asking]
            except TimeoutError:
                break
            by_node = defaultdict(list)
            for node, question in chain.from_iterable(again):
                by_node[node].append(question)
            if not by_node:
                break
        if all(isinstance(value, Unread) for value in values):
            self.breaker.raise_if_open()
        return values

    async def _ask(self, node: Node, part: list[Question], values: list[Any]) -> list[tuple[Node, Question]]:
        """Put a node's answers among the values; return what is to be asked again, and where."""
        commands: list[Command] = []
        for question in part:
            if question.asking:
                commands.append(ASKING)
            commands.append(question.command)
        try:
            answered = iter(await node.ask(commands))
        except StoreUnavailable as err:
            self.topology.look_soon()
            unread = Unread(f"{node.where}: {err.reason}")
            for question in part:
                question.fill(values, unread)
            return []
        again: list[tuple[Node, Question]] = []
        for question in part:
            _, command, positions, asking = question
            reply = next(answered)
            if asking:
                reply = next(answered)
            if isinstance(reply, list):
                if command[0] != "MGET":
                    values[positions[0]] = reply
                elif len(positions) == 1:
                    values[positions[0]] = reply[0]
                else:
                    for position, value in zip(positions, reply, strict=True):
                        values[position] = value
            elif str(reply).startswith("WRONGTYPE"):
                values[positions[0]] = []
            else:
                try:
                    again += self._elsewhere(node, question, reply, values)
                except StoreUnavailable as err:
                    question.fill(values, Unread(f"{node.where}: {err.reason}"))
        return again

    def _elsewhere(
        self, node: Node, question: Question, reply: ResponseError, values: list[Any]
    ) -> list[tuple[Node, Question]]:
        """Return where to ask instead, by the specification's redirections; nothing if no node serves the slot."""
        topology = self.topology
        if isinstance(reply, TryAgainError):  # of a slot's keys, some have moved and some have not: one by one
            topology.moving(question.slot)
            return [(node, question.of(i)) for i in range(len(question.positions))]
        if isinstance(reply, AskError):
            # No host means the one that was asked, at another port.
            host = (reply.host or node.host[0], reply.port)
            if isinstance(reply, MovedError):
                topology.moved(question.slot, host)
                return [(topology.node(host), question._replace(asking=False))]
            topology.moving(question.slot)
            return [(topology.node(host), question._replace(asking=True))]
        topology.look_soon()
        node.failures["refusal"] += 1
        question.fill(values, Unread(f"{node.where}: CLUSTERDOWN {reply}"))
        return []
