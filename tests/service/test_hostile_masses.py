"""Thousands of hostile connections at once: a worker's memory is bounded, and others are served meanwhile."""

from __future__ import annotations

import selectors
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import orjson
import psutil
import pytest

from ranker.process.descriptors import raise_limit
from tests.service.conftest import Served, Shop, serve

pytestmark = pytest.mark.slow

CONNECTIONS = 2000
MOST_BYTES = 400 << 20
KEPT_BYTES = 64 << 20
"""What may be left of it when the callers are gone: caches, and what fragments."""
FEW_FILES = 300
GOOD = {"requestId": "r", "userId": "3", "productIds": ["1", "2", "3"]}

IDLE = b""
HALF_A_BODY = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b" " * 999_000
UNKNOWN = orjson.dumps(GOOD | {"productIds": [f"{i:0>250}" for i in range(1000)]})
UNREAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(UNKNOWN), UNKNOWN)
PIPELINED = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 30_000


@pytest.fixture(scope="module")
def hardened(stocked: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    raise_limit()
    log = tmp_path_factory.mktemp("masses") / "log"
    with serve(stocked.environment | {"RANKER_RUNNER": "local"}, log) as running:
        yield running
    assert "Traceback" not in log.read_text()


def worker_of(served: Served) -> psutil.Process:
    return max(psutil.Process(served.process.pid).children(recursive=True), key=lambda p: p.memory_info().rss)


@contextmanager
def hoarding(served: Served, data: bytes, connections: int) -> Iterator[int]:
    """Send data on so many connections at once and read nothing; yield the worker's greatest memory, in bytes.

    A good caller must get an answer all the while: a ranking, or a refusal where the others really ask for rankings.
    """
    url, worker = httpx.URL(served.url), worker_of(served)
    most, ranked = 0, data is UNREAD
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        client = stack.enter_context(httpx.Client(base_url=served.url, timeout=30))
        for _ in range(connections):
            caller = stack.enter_context(socket.socket())
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            caller.setblocking(False)
            caller.connect_ex((url.host, url.port))
            selector.register(caller, selectors.EVENT_WRITE, memoryview(data))
        ends = time.monotonic() + 60
        asked = 0.0
        while selector.get_map() and time.monotonic() < ends:
            for key, _ in selector.select(timeout=0.5):
                left = key.data
                try:
                    left = left[key.fileobj.send(left) :] if left else left  # type: ignore[union-attr]  # sockets
                except BlockingIOError:
                    continue
                except OSError:  # hung up on
                    left = b""
                if len(left):
                    selector.modify(key.fileobj, selectors.EVENT_WRITE, left)
                else:
                    selector.unregister(key.fileobj)
            if time.monotonic() > asked + 0.2:
                most = max(most, worker.memory_info().rss)
                answer = client.post("/predict", json=GOOD)
                assert answer.status_code == 200 or (ranked and answer.status_code == 429), answer.text
                asked = time.monotonic()
        yield most


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("data", "connections"),
    [(IDLE, CONNECTIONS), (HALF_A_BODY, CONNECTIONS), (UNREAD, CONNECTIONS), (PIPELINED, CONNECTIONS // 10)],
    ids=["idle", "half a body", "unread", "pipelined"],
)
def test_thousands_of_connections_leave_a_worker_its_memory(hardened: Served, data: bytes, connections: int) -> None:
    worker = worker_of(hardened)
    before = worker.memory_info().rss
    with hoarding(hardened, data, connections) as most:
        print(f"{before >> 20} MiB before, {most >> 20} at the most")
        assert most < MOST_BYTES
    deadline = time.monotonic() + 30
    while (after := worker.memory_info().rss) > before + KEPT_BYTES:
        assert time.monotonic() < deadline, f"{after >> 20} MiB are kept"
        time.sleep(0.2)
    print(f"{after >> 20} MiB after")


@pytest.fixture(scope="module")
def with_few_files(stocked: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    raise_limit()
    log = tmp_path_factory.mktemp("few") / "log"
    under = ("prlimit", f"--nofile=100:{FEW_FILES}")
    with suppress(FileNotFoundError):
        subprocess.run([*under, "true"], check=True)
        with serve(stocked.environment | {"RANKER_RUNNER": "local"}, log, under=under) as running:
            yield running
        return
    pytest.skip("there is no prlimit")


def test_more_connections_than_open_files_stop_nobody_else(with_few_files: Served) -> None:
    worker = worker_of(with_few_files)
    assert worker.rlimit(psutil.RLIMIT_NOFILE)[0] == FEW_FILES
    with hoarding(with_few_files, IDLE, 3 * FEW_FILES):
        before = worker.cpu_times().user + worker.cpu_times().system
        began = time.monotonic()
        time.sleep(1)  # what is measured is that nothing happens
        busy = worker.cpu_times().user + worker.cpu_times().system - before
        assert busy < 0.5 * (time.monotonic() - began)
        assert httpx.post(f"{with_few_files.url}/predict", json=GOOD).status_code == 200
    assert "connections are open, as many as this worker may have" in with_few_files.log.read_text()
