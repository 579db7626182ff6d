"""Delay proxy: makes Redis a millisecond, or what is asked for, farther away, half of it in either direction.

What comes in leaves that much later. Timers of an event loop are coarse, so the thread sleeps; what it really adds is
measured with PING and reported.
"""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from redis import Redis

DELAY_S = 0.0005
"""Each way, unless asked for otherwise."""
START_TIMEOUT_S = 10.0
RECEIVE_BYTES = 1 << 18


@contextlib.contextmanager
def proxy(target: Path, listen: Path, delay_s: float = DELAY_S) -> Iterator[None]:
    """Run the proxy between two unix sockets in a process of its own within the block; `delay_s` is each way's."""
    listen.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.harness.delay", str(target), str(listen), str(delay_s)]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not listen.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the delaying proxy did not start")
            time.sleep(0.01)
        yield
    finally:
        process.kill()
        process.wait()


def measure(url: str, count: int = 200) -> float:
    """Return the median milliseconds of a PING."""
    with Redis.from_url(url) as client:
        client.ping()
        times = []
        for _ in range(count):
            start = time.perf_counter()
            client.ping()
            times.append(time.perf_counter() - start)
    return sorted(times)[count // 2] * 1e3


def relay(target: str, listen: str, delay_s: float) -> None:
    """Relay between both for ever, each way so many seconds late."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(listen)
    server.listen(1024)
    poller = select.epoll()
    poller.register(server, select.EPOLLIN)
    peers: dict[int, tuple[socket.socket, socket.socket]] = {}
    due: deque[tuple[float, socket.socket, bytes]] = deque()
    while True:
        wait = max(due[0][0] - time.perf_counter(), 0.0) if due else None
        # epoll itself waits in whole milliseconds; select on it does in microseconds.
        select.select([poller], [], [], wait)
        for descriptor, _ in poller.poll(0):
            if descriptor == server.fileno():
                near, far = server.accept()[0], socket.socket(socket.AF_UNIX)
                far.connect(target)
                for one, other in ((near, far), (far, near)):
                    peers[one.fileno()] = one, other
                    poller.register(one, select.EPOLLIN)
            elif descriptor in peers:
                one, other = peers[descriptor]
                data = one.recv(RECEIVE_BYTES)
                due.append((time.perf_counter() + delay_s, other, data))
                if not data:
                    poller.unregister(one)
        while due and due[0][0] <= time.perf_counter():
            _, receiver, data = due.popleft()
            with contextlib.suppress(OSError):
                if data:
                    receiver.sendall(data)
                else:
                    receiver.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    relay(sys.argv[1], sys.argv[2], float(sys.argv[3]))
