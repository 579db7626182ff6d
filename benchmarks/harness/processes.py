"""Runs a contender, sees when it is ready, counts what its processes use, and ends them all."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil

from benchmarks.harness.contender import Contender
from benchmarks.harness.surroundings import PROJECT, Surroundings
from ranker.demo.ports import free_port

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 6.0
POLL_S = 0.1
LOG_TAIL = 3000


class ContenderFailed(Exception):
    """A contender did not start, or answers wrongly."""


@dataclass(frozen=True)
class Running:
    """A contender that is ready.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        process: The one that was started, parent of all others.
        counts_degraded: Whether its `/metrics` says how many answers were degraded.
    """

    port: int
    process: psutil.Process
    counts_degraded: bool

    def post(self, body: bytes, timeout_s: float = 10.0) -> tuple[int, bytes]:
        """Ask for one ranking; return status and body."""
        return ask(self.port, "POST", "/predict", body, timeout_s)

    def tree(self) -> list[psutil.Process]:
        """Return the contender's processes."""
        return [self.process, *self.process.children(recursive=True)]

    def cpu_s(self) -> float:
        """Return the user and system seconds that its processes have used so far."""
        return sum(cpu_s(process) for process in self.tree())

    def memory_mb(self) -> dict[str, float]:
        """Return the resident memory of each process, by what it is."""
        sizes: dict[str, float] = {}
        for process in self.tree():
            with suppress(psutil.NoSuchProcess):
                name = base = role(process.cmdline())
                while name in sizes:
                    name = f"{base} #{sum(other.startswith(base) for other in sizes) + 1}"
                sizes[name] = round(process.memory_info().rss / 1e6, 1)
        return sizes


def cpu_s(process: psutil.Process) -> float:
    """Return the user and system seconds of one process."""
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def role(command: list[str]) -> str:
    """Say what a process is, without its paths."""
    if "--service-name" in command:
        return command[command.index("--service-name") + 1]
    if "-m" in command:
        return " ".join(word for word in command[command.index("-m") + 1 :][:2] if not word.startswith("-"))
    if any("spawn_main" in word or "forkserver" in word for word in command):
        return "spawned"
    return "helper"


@contextmanager
def running(contender: Contender, around: Surroundings) -> Iterator[Running]:
    """Have a contender run, ready, within the block, in processes of its own.

    Raises:
        ContenderFailed: it does not become ready in `START_TIMEOUT_S`.
    """
    port = free_port()
    command = [word.format(port=port) for word in contender.command]
    log = around.directory / f"{contender.name}.log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=around.environment(contender),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        started = Running(port, psutil.Process(child.pid), contender.is_ranker)
        _wait_ready(started, child, contender, around.bodies(), log)
        yield started
    finally:
        _stop(child)


def end_when_told() -> None:
    """End at SIGTERM as an exception does, so that the contenders, Redis and the temporary directory go too."""

    def end(signum: int, _: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    signal.signal(signal.SIGTERM, end)


def ask(port: int, method: str, path: str, body: bytes | None = None, timeout_s: float = 10.0) -> tuple[int, bytes]:
    """Send one request to a port of this machine; return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _wait_ready(
    started: Running, child: subprocess.Popen[bytes], contender: Contender, bodies: Path, log: Path
) -> None:
    with bodies.open("rb") as lines:
        body = lines.readline().strip()
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and child.poll() is None:
        with suppress(OSError, http.client.HTTPException):
            status, _ = ask(started.port, "GET", contender.ready) if contender.ready else started.post(body)
            if status == 200:
                return
        time.sleep(POLL_S)
    raise ContenderFailed(f"{contender.name} did not become ready:\n{log.read_text(errors='replace')[-LOG_TAIL:]}")


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End a contender with all its processes, which are in a session of their own, kindly at first."""
    tree = []
    with suppress(psutil.NoSuchProcess):
        tree = psutil.Process(child.pid).children(recursive=True)
    with suppress(ProcessLookupError):
        child.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(STOP_TIMEOUT_S)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for process in tree:
        # psutil compares the start time, so a process number used anew is not killed.
        with suppress(psutil.NoSuchProcess):
            process.kill()
