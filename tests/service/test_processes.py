"""Processes of a running service are killed, stopped and replaced, under load."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import orjson
import psutil
import pytest

from ranker.demo.ports import free_port
from tests.service.conftest import Served, Shop, serve
from tests.support.balancer import Balancer

WHOLE_AGAIN_S = 15
STARTED = "Completed async startup hook: start"
BODY = {"requestId": "r", "userId": "3", "productIds": [str(i) for i in range(50)]}


def processes(served: Served, name: str) -> list[psutil.Process]:
    """The processes of one BentoML service, dead ones left out."""
    found = []
    for process in psutil.Process(served.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            command = process.cmdline()
            if "--service-name" in command and command[command.index("--service-name") + 1] == name:
                found.append(process)
    return found


class Load(threading.Thread):
    """One caller who asks again and again, each time on a new connection, and notes what comes back."""

    def __init__(self, port: int, expected: bytes) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._expected = orjson.loads(expected)
        self._body = orjson.dumps(BODY)
        self._ended = threading.Event()
        self.outcomes: Counter[str] = Counter()

    def run(self) -> None:
        while not self._ended.is_set():
            self.outcomes[self.ask()] += 1
            time.sleep(0.005)

    def ask(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            connection.request("POST", "/predict", self._body)
            answer = connection.getresponse()
            got = orjson.loads(answer.read())
        except (OSError, http.client.HTTPException) as err:
            return type(err).__name__
        finally:
            connection.close()
        if answer.status != 200:
            return f"{answer.status} {got['error_type']}"
        if got["degraded"]:
            return f"degraded {got['degradedReason']}"
        return "ok" if got == self._expected else "wrong"

    def stop(self) -> None:
        self._ended.set()
        self.join(30)
        assert not self.is_alive()


@contextmanager
def load(url: str, callers: int = 4) -> Iterator[Counter[str]]:
    """Have callers ask within the block; their outcomes are complete after it."""
    expected = httpx.post(f"{url}/predict", json=BODY).content
    threads = [Load(httpx.URL(url).port or 0, expected) for _ in range(callers)]
    outcomes: Counter[str] = Counter()
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        for thread in threads:
            thread.stop()
            outcomes.update(thread.outcomes)


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def ready(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/readyz", timeout=10).status_code == 200
    return False


def answered(served: Served) -> float:
    """How many rankings the service has counted."""
    lines = httpx.get(f"{served.url}/metrics", timeout=10).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("ranker_requests_total{"))


@pytest.fixture(scope="module")
def two_workers(stocked: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("two")
    with serve(stocked.environment | {"RANKER_WORKERS": "2"}, home / "log") as served:
        wait_until(lambda: len(processes(served, "ranker")) == 2, 30)
        yield served


def test_killed_runner_costs_scores_but_no_answers_and_is_replaced(two_workers: Served) -> None:
    (runner,) = processes(two_workers, "ranker_runner")
    with load(two_workers.url) as outcomes:
        time.sleep(0.5)
        os.kill(runner.pid, signal.SIGKILL)
        killed = time.monotonic()
        wait_until(lambda: not ready(two_workers.url), WHOLE_AGAIN_S)
        wait_until(lambda: ready(two_workers.url), WHOLE_AGAIN_S)
        took = time.monotonic() - killed
        time.sleep(0.5)
    assert took < WHOLE_AGAIN_S
    assert set(outcomes) == {"ok", "degraded scores_unavailable"}, outcomes
    assert httpx.post(f"{two_workers.url}/predict", json=BODY).json()["degraded"] is False


def test_killed_api_worker_loses_what_it_was_doing_and_is_replaced(two_workers: Served) -> None:
    victim = processes(two_workers, "ranker")[0]
    starts = two_workers.log.read_text().count(STARTED)
    before = answered(two_workers)
    with load(two_workers.url) as outcomes:
        time.sleep(0.5)
        os.kill(victim.pid, signal.SIGKILL)
        wait_until(lambda: two_workers.log.read_text().count(STARTED) == starts + 1, WHOLE_AGAIN_S)
        time.sleep(1)
    broken = sum(count for outcome, count in outcomes.items() if outcome != "ok")
    assert broken <= 4, outcomes  # one for each caller, who has one request under way
    assert "wrong" not in outcomes
    wait_until(lambda: "\nranker_cache_keeping 2.0" in httpx.get(f"{two_workers.url}/metrics").text, 10)
    info = [line for line in httpx.get(f"{two_workers.url}/metrics").text.splitlines() if "ranker_model_info{" in line]
    assert [line.rsplit(" ", 1)[1] for line in info] == ["1.0"]  # one model, however many workers
    assert answered(two_workers) >= before
    (survivor, *_) = processes(two_workers, "ranker")
    folder = Path(survivor.environ()["PROMETHEUS_MULTIPROC_DIR"])
    assert list(folder.glob(f"*_{victim.pid}.db")) == []


def test_container_ends_with_an_error_when_one_of_its_workers_dies(stocked: Shop, tmp_path: Path) -> None:
    env = stocked.environment | {
        "RANKER_WORKERS": "2",
        "BENTOML_CONTAINERIZED": "true",
        "RANKER_RUNNER": "local",
    }
    with serve(env, tmp_path / "log") as served:
        wait_until(lambda: len(processes(served, "ranker")) == 2, 30)
        victim, survivor = processes(served, "ranker")
        os.kill(victim.pid, signal.SIGKILL)
        assert served.process.wait(WHOLE_AGAIN_S) not in (0, None)
        assert not survivor.is_running()
    assert "died; the container ends" in served.log.read_text()


@pytest.mark.slow  # waits while it drains
def test_stop_says_so_first_and_then_finishes_what_is_under_way(stocked: Shop, tmp_path: Path) -> None:
    with serve(stocked.environment | {"RANKER_DRAIN_S": "4"}, tmp_path / "log") as served:
        port = httpx.URL(served.url).port
        body = orjson.dumps(BODY)
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        with load(served.url) as outcomes, socket.create_connection(("127.0.0.1", port)) as under_way:
            under_way.settimeout(20)
            under_way.sendall(head + body[:10])
            time.sleep(0.3)
            told = time.monotonic()
            served.process.send_signal(signal.SIGTERM)
            wait_until(lambda: httpx.get(f"{served.url}/readyz").status_code == 503, 3.5)
            late = httpx.post(f"{served.url}/predict", json=BODY)
            assert late.status_code == 200
            assert not late.json()["degraded"]
            assert late.headers["connection"] == "close"
            wait_until(lambda: not accepts(port), 10)
            # The rest of a request that began before: its answer is the real one, from a runner that is still there.
            under_way.sendall(body[10:])
            answer = b"".join(iter(lambda: under_way.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 200")
            assert b'"degraded":false' in answer
        assert served.process.wait(20) == 0
        assert time.monotonic() - told < 20
    assert set(outcomes) <= {"ok", "ConnectionRefusedError", "ConnectionResetError", "RemoteDisconnected"}, outcomes
    # Each of the four callers may meet a worker that is closing, and then the socket that nobody accepts from any more.
    assert outcomes["ConnectionResetError"] + outcomes["RemoteDisconnected"] <= 8, outcomes
    assert "Traceback" not in served.log.read_text()


def accepts(port: int | None) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_stuck_callers_do_not_hold_up_a_stop(stocked: Shop, tmp_path: Path) -> None:
    env = stocked.environment | {"RANKER_READ_TIMEOUT_S": "1", "RANKER_RUNNER": "local"}
    with serve(env, tmp_path / "log") as served, socket.socket() as half, socket.socket() as silent:
        for caller in (half, silent):
            caller.connect(("127.0.0.1", httpx.URL(served.url).port))
        half.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.3)
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(15) == 0


@pytest.mark.slow  # four starts
def test_rolling_restart_behind_a_balancer_loses_nothing(stocked: Shop, tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    started: dict[int, ExitStack] = {}

    def start(port: int, generation: int) -> None:
        env = stocked.environment | {"RANKER_DRAIN_S": "1", "RANKER_RUNNER": "local"}
        started[port] = ExitStack()
        started[port].enter_context(serve(env, tmp_path / f"{port}-{generation}.log", port=port))

    with Balancer(ports) as balancer, ExitStack() as stack:
        for port in ports:
            start(port, 0)
            stack.callback(lambda port=port: started[port].close())
        wait_until(lambda: all(map(balancer.ready, ports)), 10)
        with load(f"http://127.0.0.1:{balancer.port}") as outcomes:
            for port in ports:
                started[port].close()
                start(port, 1)
                wait_until(lambda port=port: balancer.ready(port), 10)
            time.sleep(0.5)
        assert set(outcomes) == {"ok"}, outcomes
        assert outcomes["ok"] > 100
