"""A primary with replicas and Sentinels, each a process of its own that a test may kill, suspend and start again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ranker.demo.ports import free_port
from ranker.demo.server_binary import server_binary
from ranker.demo.servers import wait_for

SERVICE = "shop"


@dataclass(frozen=True)
class Software:
    """What is run, and how it is reached: plain by default, with TLS where options say so.

    Attributes:
        executable: The server's program.
        options: For servers and Sentinels.
        client: What clients connect with.
        port_option: Which option has the port.
    """

    executable: str = field(default_factory=server_binary)
    options: Sequence[str] = ()
    client: dict[str, Any] = field(default_factory=dict)
    port_option: str = "port"

    def ports(self, port: int) -> list[str]:
        return (
            ["--port", str(port)] if self.port_option == "port" else ["--port", "0", f"--{self.port_option}", str(port)]
        )


@dataclass
class Watched:
    """Servers and Sentinels: their processes by port."""

    folder: Path
    software: Software
    sentinel_software: Software = field(default_factory=Software)
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    servers: list[int] = field(default_factory=list)
    sentinels: list[int] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self.sentinels)}/{SERVICE}"

    def client(self, port: int) -> Redis:
        return Redis(port=port, socket_timeout=2.0, retry=Retry(NoBackoff(), 0), **self.software.client)

    def sentinel_client(self, port: int) -> Redis:
        return Redis(port=port, socket_timeout=2.0, retry=Retry(NoBackoff(), 0), **self.sentinel_software.client)

    def primary(self) -> int:
        """Return the port of the primary, as the first Sentinel that answers has it."""
        with self.sentinel_client(self.sentinels[0]) as sentinel:
            return int(sentinel.sentinel_get_master_addr_by_name(SERVICE)[1])

    def launch(self, port: int, *options: str, software: Software | None = None) -> None:
        software = software or self.software
        folder = self.folder / str(port)
        folder.mkdir(exist_ok=True)
        command = ["redis-server", *options, "--bind", "127.0.0.1", "--dir", str(folder), *software.options]
        with (folder / "log").open("ab") as log:
            self.processes[port] = subprocess.Popen(
                command, executable=software.executable, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def launch_server(self, port: int, *options: str) -> None:
        """Start a server with what it had written."""
        self.launch(port, *self.software.ports(port), "--save", "", "--appendonly", "yes", *options)
        with self.client(port) as client:
            wait_for(client.ping)

    def kill(self, port: int) -> None:
        self.processes[port].kill()
        self.processes[port].wait()

    def end(self) -> None:
        for port in self.processes:
            self.kill(port)

    def send(self, port: int, number: signal.Signals) -> None:
        os.kill(self.processes[port].pid, number)


@contextmanager
def watched(
    folder: Path,
    software: Software | None = None,
    *,
    replicas: int = 1,
    sentinel_options: Sequence[str] = (),
    sentinel_software: Software | None = None,
) -> Iterator[Watched]:
    """Run a primary, replicas and three Sentinels that take it for down after half a second; yield all in step."""
    software = software or Software()
    service = Watched(folder, software, sentinel_software or software)
    service.servers = [free_port() for _ in range(1 + replicas)]
    service.sentinels = [free_port() for _ in range(3)]
    first = service.servers[0]
    try:
        for port in service.servers:
            replica = () if port == first else ("--replicaof", "127.0.0.1", str(first))
            service.launch_server(port, *replica, "--repl-diskless-sync-delay", "0")
        # Each is told of the others and of the replicas, which it would find out in some seconds.
        names = {port: f"{i + 1:040x}" for i, port in enumerate(service.sentinels)}
        for port in service.sentinels:
            (folder / str(port)).mkdir()
            config = folder / str(port) / "sentinel.conf"
            lines = [
                f"sentinel myid {names[port]}",
                f"sentinel monitor {SERVICE} 127.0.0.1 {first} 2",
                f"sentinel down-after-milliseconds {SERVICE} 500",
                f"sentinel failover-timeout {SERVICE} 4000",
                *(f"sentinel known-replica {SERVICE} 127.0.0.1 {replica}" for replica in service.servers[1:]),
                *(f"sentinel known-sentinel {SERVICE} 127.0.0.1 {o} {names[o]}" for o in names if o != port),
                *sentinel_options,
            ]
            config.write_text("\n".join(lines) + "\n")
            sentinels = service.sentinel_software
            service.launch(port, str(config), "--sentinel", *sentinels.ports(port), software=sentinels)
        for port in service.sentinels:
            with service.sentinel_client(port) as sentinel:
                wait_for(lambda s=sentinel: _knows(s.sentinel_master(SERVICE), replicas))
        for port in service.servers[1:]:
            with service.client(port) as replica:
                wait_for(lambda r=replica: r.info("replication")["master_link_status"] == "up")
        yield service
    finally:
        service.end()


def _knows(facts: dict[str, Any], replicas: int) -> bool:
    return facts["num-other-sentinels"] == 2 and facts["num-slaves"] == replicas
