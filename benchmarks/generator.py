"""An open-loop generator: requests leave at a constant rate, whatever becomes of those before them.

Latency counts from the moment a request should have left, so neither a slow service nor a slow generator can hide
waiting. One thread, nothing but system calls and the parsing of a header, because it shares the cores with what it
measures. Prints one line of JSON. Why not k6: see `bench_generators.py`.
"""

from __future__ import annotations

import argparse
import gc
import json
import select
import socket
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAX_CONNECTIONS = 3000
"""A request that finds no free one of so many is an error, and is not sent."""
DRAIN_S = 10.0
"""How long answers may take after the last request has left."""
RECEIVE_BYTES = 1 << 18
BROKEN = select.EPOLLHUP | select.EPOLLERR


class Connection:
    """One kept-alive connection, and the request on it."""

    __slots__ = ("awaited", "connected", "fresh", "intended", "parts", "request", "sock", "status")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.connected = False
        self.fresh = True
        self.request = b""
        self.intended = 0.0
        self.parts: list[bytes] = []
        self.awaited = 0
        self.status = 0


@dataclass(slots=True)
class Tally:
    """What happened, beside the latencies."""

    answers: int = 0
    status_errors: int = 0
    socket_errors: int = 0
    not_sent: int = 0
    degraded: int = 0
    retried: int = 0


class Generator:
    """Sends the bodies in turn to one port of this machine.

    Args:
        port: Where.
        bodies: What; sent to `/predict`.
        rate: Requests a second.
    """

    def __init__(self, port: int, bodies: list[bytes], rate: float) -> None:
        head = "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
        self._address = ("127.0.0.1", port)
        self._rate = rate
        self._epoll = select.epoll()
        self._by_fd: dict[int, Connection] = {}
        self._free: deque[Connection] = deque()
        self._in_flight = 0
        self.tally = Tally()
        self.latencies: list[float] = []
        self.good: list[float] = []
        """The latencies of full answers alone: neither refused nor degraded."""
        self.lateness: list[float] = []

    def run(self, seconds: float) -> None:
        """Send for so long, then wait for what is missing."""
        total = int(seconds * self._rate)
        start = time.perf_counter() + 0.01
        stop = start + seconds + DRAIN_S
        sent = 0
        now = time.perf_counter()
        while sent < total or self._in_flight:
            while sent < total and (intended := start + sent / self._rate) <= now:
                self._send(self._requests[sent % len(self._requests)], intended)
                sent += 1
                now = time.perf_counter()
            wait = start + sent / self._rate - now if sent < total else stop - now
            if wait < 0 and sent == total:
                self.tally.socket_errors += self._in_flight
                return
            # epoll itself waits in whole milliseconds; select on it does in microseconds.
            select.select([self._epoll], [], [], max(wait, 0.0))
            for descriptor, event in self._epoll.poll(0):
                self._on_event(self._by_fd[descriptor], event)
            now = time.perf_counter()

    def close(self) -> None:
        """Hang up."""
        for connection in self._by_fd.values():
            connection.sock.close()
        self._by_fd.clear()
        self._epoll.close()

    def _send(self, request: bytes, intended: float) -> None:
        connection = self._free.pop() if self._free else self._connect()
        if connection is None:
            self.tally.not_sent += 1
            return
        self._in_flight += 1
        connection.request, connection.intended = request, intended
        if connection.connected:
            self._write(connection)

    def _connect(self) -> Connection | None:
        if len(self._by_fd) >= MAX_CONNECTIONS:
            return None
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex(self._address)
        connection = Connection(sock)
        self._by_fd[sock.fileno()] = connection
        self._epoll.register(sock.fileno(), select.EPOLLOUT)
        return connection

    def _write(self, connection: Connection) -> None:
        self.lateness.append(time.perf_counter() - connection.intended)
        try:
            # A body is smaller than a socket's empty buffer, which takes it whole.
            if connection.sock.send(connection.request) != len(connection.request):
                self._fail(connection)
        except OSError:
            self._fail(connection)

    def _on_event(self, connection: Connection, event: int) -> None:
        if not connection.connected and not event & BROKEN:
            connection.connected = True
            self._epoll.modify(connection.sock.fileno(), select.EPOLLIN)
            self._write(connection)
            return
        try:
            data = connection.sock.recv(RECEIVE_BYTES)
        except OSError:
            data = b""
        if not data:
            self._fail(connection)
            return
        connection.parts.append(data)
        if not connection.awaited:
            self._read_head(connection)
        else:
            connection.awaited -= len(data)
        if connection.awaited <= 0 < connection.status:
            self._answered(connection)

    def _read_head(self, connection: Connection) -> None:
        """Note status and what is to come; needs a Content-Length, which all contenders send."""
        data = b"".join(connection.parts)
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            return
        connection.status = int(head[9:12])
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        connection.awaited = length - len(rest)

    def _answered(self, connection: Connection) -> None:
        self.latencies.append(time.perf_counter() - connection.intended)
        self.tally.answers += 1
        if connection.status != 200:
            self.tally.status_errors += 1
        elif any(b'"degraded":true' in part for part in connection.parts):
            self.tally.degraded += 1
        else:
            self.good.append(self.latencies[-1])
        self._in_flight -= 1
        connection.parts.clear()
        connection.awaited = connection.status = 0
        connection.request = b""
        connection.fresh = False
        self._free.append(connection)

    def _fail(self, connection: Connection) -> None:
        """Drop a connection; what was on it is an error unless the service had closed it while it was idle."""
        descriptor = connection.sock.fileno()
        self._epoll.unregister(descriptor)
        del self._by_fd[descriptor]
        connection.sock.close()
        if not connection.request:
            self._free.remove(connection)
            return
        self._in_flight -= 1
        if connection.fresh or connection.parts:
            self.tally.socket_errors += 1
        else:
            self.tally.retried += 1
            self._send(connection.request, connection.intended)


def main() -> None:
    """Generate, and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bodies", type=Path, required=True, help="a file with one body a line")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    generator = Generator(arguments.port, arguments.bodies.read_bytes().splitlines(), arguments.rate)
    gc.disable()
    began = time.perf_counter()
    generator.run(arguments.seconds)
    took = time.perf_counter() - began
    tally = generator.tally
    latencies = np.array(generator.latencies or [0.0]) * 1e3
    lateness = np.array(generator.lateness or [0.0]) * 1e3
    p50, p99, p999 = np.percentile(latencies, [50, 99, 99.9])
    result = {
        "requests": tally.answers,
        "seconds": took,
        "status": tally.status_errors,
        "socket": tally.socket_errors + tally.not_sent,
        "not_sent": tally.not_sent,
        "degraded": tally.degraded,
        "retried": tally.retried,
        "good": len(generator.good),
        "good_p99_ms": float(np.percentile(generator.good or [0.0], 99)) * 1e3,
        "p50_ms": p50,
        "p99_ms": p99,
        "p999_ms": p999,
        "max_ms": latencies.max(),
        "late_p99_ms": float(np.percentile(lateness, 99)),
        "late_max_ms": lateness.max(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
