"""A primary that one Sentinel watches."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from ranker.demo.ports import free_port
from ranker.demo.server_binary import server_binary
from ranker.demo.servers import running, wait_for


@contextmanager
def sentinel(folder: Path, name: str) -> Iterator[tuple[str, Redis]]:
    """Run a primary and a Sentinel that watches it as `name`; yield the Sentinel's URL and the primary's client."""
    port, watched = free_port(), free_port()
    with running(folder / "primary", watched) as primary:
        (folder / "sentinel").mkdir()
        config = folder / "sentinel" / "sentinel.conf"
        config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor {name} 127.0.0.1 {watched} 1\n")
        with (folder / "sentinel" / "log").open("wb") as log:
            command = [server_binary(), str(config), "--sentinel"]
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            with Redis(port=port) as client:
                wait_for(client.ping)
            yield f"redis://127.0.0.1:{port}/1", primary
        finally:
            process.kill()
            process.wait()
