"""Free ports for servers that are about to be started on this machine."""

from __future__ import annotations

import random
import socket
from pathlib import Path

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_given: set[int] = set()
"""Ports given so far, which servers that are about to start may not have taken yet."""


def free_port() -> int:
    """Return a free port of 127.0.0.1, each once.

    It is below those that clients' connections get, which may take one at once.
    """
    lowest = int(EPHEMERAL.read_text().split()[0]) if EPHEMERAL.exists() else 32768
    while True:
        port = random.randrange(10_000, lowest) if lowest > 10_000 else 0
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port
