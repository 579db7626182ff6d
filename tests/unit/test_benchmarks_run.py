"""The whole harness, once and tiny, where wrk is installed; and its generator against a service that closes early."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from benchmarks.generator import Generator

PROJECT = Path(__file__).parents[2]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (Debian: apt-get install wrk)")
def test_harness_measures_a_contender(tmp_path: Path) -> None:
    options = ["--quick", "--contenders", "bare-asgi", "--levels", "1", "--seconds", "1", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", *options], cwd=PROJECT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "latest.json").read_text())
    cell = result["contenders"]["bare-asgi"]["closed"]["1"]
    assert cell["requests"] > 0
    assert cell["errors"] == 0
    assert cell["cpu_s_per_1000"] > 0
    assert "| bare-asgi | 1 |" in (tmp_path / "latest.md").read_text()


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (Debian: apt-get install wrk)")
def test_harness_that_is_told_to_end_leaves_nothing(tmp_path: Path) -> None:
    options = ["--contenders", "bare-asgi", "--levels", "1", "--seconds", "60", "--out", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "benchmarks.run", *options], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ) as harness:
        assert harness.stdout is not None
        harness.stdout.readline()  # the first contender is being started: all else is there
        children = psutil.Process(harness.pid).children(recursive=True)
        proxy = next(child for child in children if "benchmarks.delay" in child.cmdline())
        directory = Path(proxy.cmdline()[-1]).parent
        assert (directory / "redis.sock").exists()
        harness.terminate()
        assert harness.wait(60) == 128 + signal.SIGTERM
    assert not directory.exists()
    _, alive = psutil.wait_procs(children, timeout=30)  # orphans are for somebody else to reap
    assert not alive


class Service:
    """Answers every request on a connection, so many times, then hangs up."""

    def __init__(self, answers_each: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._answers_each = answers_each
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def connections(self) -> int:
        return len(self._threads) - 1

    def close(self) -> None:
        """Stop accepting; the generator must have hung up before."""
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept, which close does not
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._answer, args=(connection,)))
            self._threads[-1].start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            for _ in range(self._answers_each):
                if not connection.recv(1 << 16):
                    break
                connection.sendall(ANSWER[:30])
                connection.sendall(ANSWER[30:])


def test_generator_opens_another_connection_when_the_service_hangs_up() -> None:
    service = Service(answers_each=5)
    generator = Generator(service.port, [b"{}"], rate=50)
    generator.run(0.4)
    generator.close()
    service.close()
    assert generator.tally.answers == len(generator.latencies) == 20
    assert generator.tally.status_errors == generator.tally.socket_errors == generator.tally.not_sent == 0
    assert service.connections >= 4


def test_generator_counts_what_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    generator = Generator(port, [b"{}"], rate=50)
    generator.run(0.1)
    generator.close()
    assert generator.tally.socket_errors == 5
    assert generator.tally.answers == 0
