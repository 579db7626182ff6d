"""A Redis-compatible server to be hurt: killed, suspended, started again with what it had acknowledged."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from ranker.demo.server_binary import server_binary

START_TIMEOUT_S = 20.0


class Server:
    """On a unix socket in a directory; every acknowledged write is on disk, so a kill loses none.

    Args:
        directory: Where its socket, data and log are; its path must be short.
        options: More of the server's options, such as `key-load-delay`.
    """

    def __init__(self, directory: Path, **options: str) -> None:
        self._directory = directory
        self._options = {
            "port": "0",
            "unixsocket": str(directory / "redis.sock"),
            "dir": str(directory),
            "logfile": str(directory / "redis.log"),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "enable-debug-command": "yes",
        } | {name.replace("_", "-"): value for name, value in options.items()}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> str:
        return self._options["unixsocket"]

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Self]:
        """A server in a directory of its own, which ends with the block."""
        with tempfile.TemporaryDirectory(prefix="ranker-", dir="/tmp") as name:
            made = cls(Path(name))
            made.start()
            try:
                yield made
            finally:
                made.kill()

    def launch(self) -> None:
        """Start the server; return while it may still be loading."""
        words = [word for name, value in self._options.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen([server_binary(), *words], stdin=subprocess.DEVNULL)

    def start(self) -> None:
        """Start the server; return when it answers."""
        self.launch()
        deadline = time.monotonic() + START_TIMEOUT_S
        with self.client() as client:
            while time.monotonic() < deadline:
                try:
                    client.ping()
                    return
                except RedisError:
                    time.sleep(0.005)
        raise TimeoutError((self._directory / "redis.log").read_text()[-2000:])

    def kill(self) -> None:
        """End the server without giving it a chance."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        Path(self.socket).unlink(missing_ok=True)

    def suspend(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def store(self, key: str, value: bytes) -> None:
        """Write a key, however busy the machine is."""
        with self.client(timeout_s=10.0) as client:
            client.set(key, value)

    def client(self, timeout_s: float = 5.0) -> Redis:
        return Redis(unix_socket_path=self.socket, socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0))
