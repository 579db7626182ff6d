"""Load tests as users run them: `ranker bench`, locust and `make load`, against a served ranker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ranker.demo.ports import free_port
from tests.service.conftest import PRODUCTS, PROJECT, USERS, Served, Shop, serve

BENCH = [sys.executable, "-m", "ranker", "bench"]
LOAD = ["--rate", "50", "--seconds", "2"]
PATIENT = ["--max-p99-ms", "20000"]
"""On a busy machine too."""


@pytest.fixture(scope="module")
def served(stocked: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(stocked.environment | {"RANKER_RUNNER": "local"}, tmp_path_factory.mktemp("served") / "log") as running:
        yield running


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    directory = tmp_path_factory.mktemp("ids")
    for name, count in (("users", USERS), ("products", PRODUCTS)):
        (directory / name).write_text("\n".join(map(str, range(count))))
    return ["--user-ids", str(directory / "users"), "--product-ids", str(directory / "products")]


def run(command: list[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=110, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    return done


def test_bench_is_listed_and_explains_itself() -> None:
    assert "bench" in run([sys.executable, "-m", "ranker", "--help"]).stdout
    assert "latency counts from these" in run([*BENCH, "--help"]).stdout


def test_bench_says_that_thresholds_held(served: Served, ids: list[str]) -> None:
    done = run([*BENCH, served.url, *LOAD, *PATIENT, *ids])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0].startswith("Requests      100 in ")
    assert "Errors        none" in done.stdout
    assert "Incomplete" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("held | 100 requests at 50/s, p50 ")


def test_bench_fails_when_a_threshold_is_passed(served: Served, ids: list[str]) -> None:
    done = run([*BENCH, served.url, *LOAD, *ids, "--max-p99-ms", "0.001", "--json", "--products", "7"])
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert not said["held"]
    assert said["verdict"].startswith("FAILED: p99 ")
    assert (said["requests"], said["good"], said["errors"]) == (100, 100, {})
    assert sum(second["requests"] for second in said["per_second"]) >= 90
    assert 0 < said["p50_ms"] <= said["p99_ms"] <= said["max_ms"]


def test_bench_points_at_ids_that_have_no_features(served: Served, ids: list[str], tmp_path: Path) -> None:
    (tmp_path / "others").write_text("\n".join(f"other-{i}" for i in range(20)))
    done = run([*BENCH, served.url, "--rate", "50", "--seconds", "0.2", *PATIENT, *ids[:3], str(tmp_path / "others")])
    assert "Incomplete    10 answers" in done.stdout


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--products", "401"], 1, "Requests of 401 distinct products cannot be drawn from 400"),
        (["--token-env", "ABSENT_TOKEN"], 2, "ABSENT_TOKEN is not set"),
        (["--rate", "0"], 2, "above 0"),
        (["--rate", "0.5", "--seconds", "1"], 2, "none leaves within 1 s. Give more --seconds."),
    ],
)
def test_bench_that_cannot_begin_is_one_clean_message(
    served: Served, ids: list[str], options: list[str], code: int, message: str
) -> None:
    done = run([*BENCH, served.url, *ids, *options])
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr


def test_bench_names_a_service_that_is_not_there_and_a_model_it_has_no_ids_of(served: Served, tmp_path: Path) -> None:
    nowhere = run([*BENCH, f"http://127.0.0.1:{free_port()}"])
    assert nowhere.returncode == 1
    assert "cannot be reached: Connection refused. Start it with `ranker serve`, or name where" in nowhere.stderr
    foreign = run([*BENCH, served.url, "--dir", str(tmp_path)])
    assert foreign.returncode == 1
    assert "The service serves test-shop:1" in foreign.stderr


class Stalling(BaseHTTPRequestHandler):
    """A deployed service that answers nobody for a second, once, and everybody at once otherwise."""

    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    asked = 0
    stall_over = 0.0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.lock:
            Stalling.asked += 1
            if Stalling.asked == 20:
                Stalling.stall_over = time.monotonic() + 1.0
        time.sleep(max(Stalling.stall_over - time.monotonic(), 0.0))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class StallingServer(ThreadingHTTPServer):
    request_queue_size = 500


@pytest.fixture
def stalling() -> Iterator[str]:
    """The URL of a service that stalls at the 20th request."""
    Stalling.asked, Stalling.stall_over = 0, 0.0
    with StallingServer(("127.0.0.1", 0), Stalling) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_bench_counts_a_stall_for_all_that_waited(stalling: str, ids: list[str]) -> None:
    done = run([*BENCH, stalling, *ids, *LOAD, "--json"])
    said = json.loads(done.stdout)
    # 50 of 100 should have left in the stall: whoever asks again only when answered would see one slow request.
    assert done.returncode == 1
    assert (said["requests"], said["errors"]) == (100, {})
    assert said["p90_ms"] > 600
    assert said["max_ms"] > 900


def test_interrupted_bench_shows_what_came_so_far(stalling: str, ids: list[str]) -> None:
    command = [*BENCH, stalling, "--rate", "50", "--seconds", "60", *PATIENT, *ids]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and Stalling.asked < 150:  # three seconds of it
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "of 60 seconds" in err
    assert "Traceback" not in err
    assert out.splitlines()[-1].startswith("held | ")


@pytest.mark.slow  # locust takes seconds of CPU to start
def test_locust_judges_from_the_intended_moments(served: Served, ids: list[str], tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    command = [sys.executable, "-m", "locust", "--headless", "--only-summary", "--host", served.url, "--users", "5"]
    command += ["--spawn-rate", "5", "--run-time", "3s", *ids]
    held = run([*command, *PATIENT, "--html", str(report)])
    assert held.returncode == 0, held.stderr
    assert "held | 1" in held.stdout
    assert " requests at 50/s" in held.stdout
    assert "locust " in held.stdout
    assert "/predict" in report.read_text()
    broken = run([*command, "--max-p99-ms", "0.001"])
    assert broken.returncode == 1
    assert "FAILED: p99 " in broken.stdout


@pytest.mark.slow
def test_locust_that_cannot_begin_is_one_clean_message(served: Served, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "locust", "--headless", "--host", served.url, "--demo-dir", str(tmp_path)]
    done = run([*command, "--run-time", "2s"])
    assert done.returncode == 1
    assert "The service serves test-shop:1" in done.stderr


@pytest.mark.slow  # half a minute of it finds out what locust manages
def test_make_load_serves_what_it_loads_where_nothing_answers(stocked: Shop, ids: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, **stocked.environment, "RANKER_RUNNER": "local", "RANKER_WORKERS": "1"}
    command = [
        sys.executable,
        "-m",
        "benchmarks.run_load",
        "--port",
        str(free_port()),
        "--rate",
        "40",
        "--seconds",
        "2",
    ]
    done = run([*command, "--seconds", "2", "--report", str(tmp_path / "r" / "load.html"), *ids, *PATIENT], environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "so the example shop is served for this run" in done.stdout
    assert "locust alone manages " in done.stdout
    (verdict,) = [line for line in done.stdout.splitlines() if line.startswith("held | ")]
    assert " requests at 40/s" in verdict
    assert "alone it manages " in verdict
    assert "/predict" in (tmp_path / "r" / "load.html").read_text()
    url = next(line.split()[5] for line in done.stdout.splitlines() if line.startswith("Sending 40 requests"))
    assert run([*BENCH, url]).returncode == 1  # it has been stopped
