"""Two servers, of which an address leads to one: what a failover behind a load balancer or a virtual address is."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.support.redis_process import Server

USER, PASSWORD = "ranker", "PASSWORD"
RULES = ("on", f">{PASSWORD}", "~user:*", "~product:*", "+mget", "+ping", "+hello", "+client|tracking")


class Pair:
    """Both run; writes go to the one that serves.

    Args:
        directory: For what they need; its path must be short.
        rules: More rights of the service's user.

    Attributes:
        serving: Has what was written last.
        spare: Has what it had when it served last.
    """

    def __init__(self, directory: Path, *rules: str) -> None:
        self._rules = (*RULES, *rules)
        self.serving, self.spare = (Server(directory / name) for name in "ab")
        self._writing = threading.Lock()
        for name in "ab":
            (directory / name).mkdir()

    def start(self) -> None:
        for server in (self.serving, self.spare):
            server.start()
            self.allow_user(server)

    def allow_user(self, server: Server) -> None:
        """Let the service's user read, and nothing else."""
        with server.client() as admin:
            admin.execute_command("ACL", "SETUSER", USER, "reset", *self._rules)

    def kill(self) -> None:
        for server in (self.serving, self.spare):
            server.kill()

    def store(self, key: str, value: bytes) -> None:
        """Write a key within a second, once no handover is under way."""
        with self._writing:
            self.serving.store(key, value)

    def hand_over(self) -> None:
        """Have the other one serve, with all that was written; who is connected to this one stays so."""
        with self._writing, self.serving.client() as old, self.spare.client() as new:
            keys = old.keys("*")
            new.mset(dict(zip(keys, old.mget(keys), strict=True)))
            self.serving, self.spare = self.spare, self.serving

    def tracking(self) -> tuple[int, int]:
        """Return how many connections the serving and the spare server announce changes to."""
        with self.serving.client() as serving, self.spare.client() as spare:
            return _tracking(serving.client_list()), _tracking(spare.client_list())


def _tracking(clients: list[dict[str, str]]) -> int:
    return sum("t" in client["flags"] for client in clients)
