"""Proxies before Redis that do not speak all of its language: twemproxy, and one that answers as Envoy."""

from __future__ import annotations

import os
import shutil
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import hiredis
import pytest

from ranker.demo.ports import free_port
from ranker.demo.servers import wait_for

FORWARDED = frozenset(["GET", "SET", "MGET", "MSET", "DEL", "HMGET", "HSET", "HGETALL", "PEXPIRE", "PTTL", "TYPE"])
"""Those of the commands Envoy knows that Ranker may use."""


@contextmanager
def twemproxy(folder: Path, port: int) -> Iterator[str]:
    """Run twemproxy before a Redis on a port of this machine; yield its URL."""
    executable = shutil.which("nutcracker", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if executable is None:
        pytest.skip("no twemproxy is installed (Debian's package nutcracker)")
    folder.mkdir()
    listening, stats = free_port(), free_port()
    config = folder / "nutcracker.yml"
    config.write_text(
        f"shop:\n  listen: 127.0.0.1:{listening}\n  hash: fnv1a_64\n  distribution: ketama\n  redis: true\n"
        f"  servers:\n   - 127.0.0.1:{port}:1\n"
    )
    command = [executable, "-c", str(config), "-s", str(stats), "-a", "127.0.0.1"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: _connects(listening))
        yield f"redis://127.0.0.1:{listening}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def envoy(port: int, password: str | None = None) -> Iterator[str]:
    """Run a proxy that answers as Envoy's redis_proxy filter; yield its URL.

    After source/extensions/filters/network/redis_proxy/command_splitter_impl.cc: AUTH and PING are answered by the
    proxy itself, with a password of its own; what it does not know is `unsupported command`, one word is `invalid
    request`, and the rest goes to Redis.

    Args:
        port: Of the Redis behind it.
        password: What callers must bring (`downstream_auth_password`).
    """

    class Conversation(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            admitted = password is None
            reader = hiredis.Reader()
            with socket.create_connection(("127.0.0.1", port)) as redis:
                pump = threading.Thread(target=_pump, args=(redis, self.request), daemon=True)
                pump.start()
                while data := _received(self.request):
                    reader.feed(data)
                    while words := reader.gets():
                        name = words[0].decode().upper()
                        if name == "AUTH":
                            admitted = password is not None and words[-1].decode() == password
                            answer = b"+OK\r\n" if admitted else b"-WRONGPASS invalid username-password pair\r\n"
                        elif not admitted:
                            answer = b"-NOAUTH Authentication required.\r\n"
                        elif name == "PING":
                            answer = b"+PONG\r\n"
                        elif len(words) < 2:
                            answer = b"-invalid request\r\n"
                        elif name not in FORWARDED:
                            answer = b"-unsupported command '%s'\r\n" % words[0]
                        else:
                            redis.sendall(hiredis.pack_command(tuple(words)))
                            continue
                        self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Conversation) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        user = "" if password is None else f":{password}@"
        try:
            yield f"redis://{user}127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def _received(end: socket.socket) -> bytes:
    with suppress(OSError):
        return end.recv(1 << 16)
    return b""


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)


def _connects(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False
