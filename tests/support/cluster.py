"""A Redis Cluster to be hurt: three primaries with a replica each, whose slots move and whose nodes die.

Knows at every moment which server owns which slot, for it alone moves them; what a failover changes, it asks for.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from redis import Redis
from redis.exceptions import AskError, MovedError
from redis.exceptions import ConnectionError as RedisConnectionError

from ranker.demo.ports import free_port
from ranker.demo.servers import meet, wait_for, wait_until_joined
from ranker.redis.hash_slots import SLOTS, key_slot
from tests.support.redis_process import Server

PRIMARIES = 3
NODE_TIMEOUT_MS = 2000
"""After so long without an answer a primary counts as dead for the others; Redis' default is 15 s."""
REPLICATED_MS = 500
"""How long a write waits until the replica has it too."""
REDIRECTIONS = 8


class Shards:
    """Six servers on free ports of 127.0.0.1.

    Args:
        directory: Where they live; its path must be short.

    Attributes:
        nodes: The servers; the first three are the primaries at the start.
        ports: Theirs, in the same order.
        redirections: Times that one of them sent a write of ours elsewhere, by what it said.
    """

    def __init__(self, directory: Path) -> None:
        self.ports = [free_port() for _ in range(2 * PRIMARIES)]
        self.nodes: list[Server] = []
        for port in self.ports:
            folder = directory / str(port)
            folder.mkdir()
            options = {"port": port, "bind": "127.0.0.1", "cluster_enabled": "yes", "cluster_port": free_port()}
            # What is written outlives a node in its replica; to wait for the disk each time would hold up reads.
            options |= {"cluster_node_timeout": NODE_TIMEOUT_MS, "repl_diskless_sync_delay": 0, "appendonly": "no"}
            self.nodes.append(Server(folder, **{name: str(value) for name, value in options.items()}))
        self.redirections: Counter[str] = Counter()
        self._dead: set[int] = set()
        self._bereaved: set[int] = set()
        self._owners: dict[int, int] = {}
        self._writers: dict[int, Redis] = {}

    @property
    def url(self) -> str:
        """Of all nodes, as Ranker takes it."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def start(self) -> None:
        """Start the servers, and return once they are a Cluster whose replicas have what their primaries have."""
        for node in self.nodes:
            node.launch()
        with self._clients() as clients:
            for client in clients:
                wait_for(client.ping)
            meet(clients, PRIMARIES)
            names = [client.execute_command("CLUSTER MYID") for client in clients]
            for replica, primary in zip(clients[PRIMARIES:], names[:PRIMARIES], strict=True):
                wait_for(partial(replica.execute_command, "CLUSTER REPLICATE", primary))  # once it has heard of it
            wait_until_joined(clients, PRIMARIES)
            for i in range(PRIMARIES):
                wait_for(lambda i=i: self._replicates(PRIMARIES + i))
            for client in clients:  # all know all replicas, of which a failover needs one
                wait_for(lambda client=client: all(len(each) == 4 for each in client.execute_command("CLUSTER SLOTS")))
        bounds = [SLOTS * i // PRIMARIES for i in range(PRIMARIES + 1)]
        self._owners = {slot: i for i in range(PRIMARIES) for slot in range(bounds[i], bounds[i + 1])}

    def stop(self) -> None:
        """End whatever lives."""
        for client in self._writers.values():
            client.close()
        for node in self.nodes:
            node.kill()

    def allow(self, user: str, rules: Sequence[str], node: int | None = None) -> None:
        """Have one node, or all, let in a user."""
        for i in range(len(self.nodes)) if node is None else (node,):
            with self.nodes[i].client() as admin:
                admin.execute_command("ACL", "SETUSER", user, "reset", *rules)

    # --- writing ------------------------------------------------------------------------------------------------

    def store(self, key: str, value: bytes) -> None:
        """Write a key where it belongs, and wait until the replica has it, if there is one.

        Raises:
            RedisError: nobody knows whether it happened, or whether it would outlive the primary.
        """
        port = self.ports[self._owners[key_slot(key)]]
        commands: list[tuple[bytes | str, ...]] = [("SET", key, value)]
        for _ in range(REDIRECTIONS):
            try:
                client = self._writer(port)
                for command in commands:
                    client.execute_command(*command)
                owner = self.ports.index(port)
                if owner not in self._bereaved and not client.wait(1, REPLICATED_MS):
                    raise RedisConnectionError("the replica did not say that it has the value")
                return
            except AskError as err:  # MOVED is one, too
                self.redirections["MOVED" if isinstance(err, MovedError) else "ASK"] += 1
                port = err.port
                commands = [("SET", key, value)] if isinstance(err, MovedError) else [("ASKING",), ("SET", key, value)]
        raise RedisConnectionError(f"the slot moved {REDIRECTIONS} times")

    def _writer(self, port: int) -> Redis:
        """Return the client that writes to a node: of one connection, for ASKING and WAIT are about theirs."""
        if port not in self._writers:
            self._writers[port] = Redis(port=port, single_connection_client=True, socket_timeout=1.0, retry=None)
        return self._writers[port]

    # --- what happens to it -------------------------------------------------------------------------------------

    def slots_of(self, node: int) -> list[int]:
        return [slot for slot, owner in self._owners.items() if owner == node]

    @property
    def primaries(self) -> list[int]:
        return sorted(set(self._owners.values()))

    def move(self, slot: int, target: int, pause_s: float) -> None:
        """Move a slot as `redis-cli --cluster reshard` does, with a pause before each key and before the end."""
        source = self._owners[slot]
        with self.nodes[source].client() as here, self.nodes[target].client() as there:
            names = [client.execute_command("CLUSTER MYID").decode() for client in (here, there)]
            there.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[0])
            here.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[1])
            while keys := here.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
                for key in keys:
                    time.sleep(pause_s)
                    here.execute_command("MIGRATE", "127.0.0.1", self.ports[target], key, 0, 5000)
            time.sleep(pause_s)
            for client in (there, here):
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", names[1])
        self._owners[slot] = target

    def kill(self, node: int) -> None:
        """End a node without giving it a chance."""
        self._dead.add(node)
        self.nodes[node].kill()

    def wait_for_failover(self, dead: int) -> int:
        """Return the node that took over a dead one's slots, once all living ones serve, and know it."""
        living = [i for i in range(len(self.nodes)) if i not in self._dead]
        slot = self.slots_of(dead)[0]
        with self._clients(living) as clients:
            for client in clients:
                wait_for(lambda client=client: self._serves_without(client, dead))
            successor = self.ports.index(_owner_of(clients[0], slot))
        self._owners = {slot: successor if owner == dead else owner for slot, owner in self._owners.items()}
        self._bereaved.add(successor)
        return successor

    def bring_back(self, node: int) -> None:
        """Start a dead node again, and return once it is a replica that has what its primary has."""
        self.nodes[node].start()
        wait_for(lambda: self._replicates(node))
        self._dead.discard(node)
        self._bereaved.clear()

    # --- what it says -------------------------------------------------------------------------------------------

    def redirections_of_reads(self) -> dict[str, int]:
        """Return how often the nodes that live sent somebody else than `store` elsewhere."""
        said: Counter[str] = Counter()
        for i, node in enumerate(self.nodes):
            if i not in self._dead:
                with node.client() as client:
                    errors = client.info("errorstats")
                said.update({word: errors.get(f"errorstat_{word}", {}).get("count", 0) for word in ("MOVED", "ASK")})
                said["TRYAGAIN"] += errors.get("errorstat_TRYAGAIN", {}).get("count", 0)
        return {word: count - self.redirections[word] for word, count in said.items()}

    def _replicates(self, node: int) -> bool:
        with self.nodes[node].client() as client:
            return client.info("replication").get("master_link_status") == "up"

    def _serves_without(self, client: Redis, dead: int) -> bool:
        ports = {owner[1] for _, _, owner, *_ in client.execute_command("CLUSTER SLOTS")}
        return client.execute_command("CLUSTER INFO")["cluster_state"] == "ok" and self.ports[dead] not in ports

    @contextmanager
    def _clients(self, nodes: Sequence[int] | None = None) -> Iterator[list[Redis]]:
        with ExitStack() as stack:
            yield [stack.enter_context(self.nodes[i].client()) for i in (nodes or range(len(self.nodes)))]


def _owner_of(client: Redis, slot: int) -> int:
    """Return the port of a slot's owner."""
    return next(owner[1] for first, last, owner, *_ in client.execute_command("CLUSTER SLOTS") if first <= slot <= last)
