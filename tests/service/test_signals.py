"""Hang-ups, Ctrl-C, and a parent that is gone, as the processes of a service meet them."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import psutil
import pytest

from ranker.demo.ports import free_port
from tests.service.conftest import PROJECT, Served, Shop, serve, wait_ready
from tests.service.test_lifecycle import ask
from tests.service.test_processes import WHOLE_AGAIN_S, wait_until

START_FROM_A_DEMO = """
import os, sys
from ranker.cli.foreground import serve
serve("127.0.0.1", int(sys.argv[1]), os.environ, lambda: None)
"""


def family(served: Served) -> list[psutil.Process]:
    """The supervisor and its workers."""
    supervisor = psutil.Process(served.process.pid)
    return [supervisor, *supervisor.children(recursive=True)]


@pytest.mark.slow  # watches for a while
def test_hang_up_signal_harms_no_process_not_even_in_a_container(stocked: Shop, tmp_path: Path) -> None:
    env = stocked.environment | {"BENTOML_CONTAINERIZED": "true"}
    with serve(env, tmp_path / "log") as served:
        before = family(served)
        for process in before:
            process.send_signal(signal.SIGHUP)
        wait_until(lambda: "SIGHUP is ignored" in served.log.read_text(), 30)
        for _ in range(20):  # the supervisor looks twice a second, and a reload takes a second
            assert ask(served.url).json()["degraded"] is False
            time.sleep(0.1)
        assert family(served) == before
    log = served.log.read_text()
    assert "died" not in log
    assert "Traceback" not in log


@pytest.mark.slow  # waits until a stop is given up
def test_stop_waits_for_a_worker_that_stands_still_no_longer_than_one_may_take(stocked: Shop, tmp_path: Path) -> None:
    env = stocked.environment | {"RANKER_READ_TIMEOUT_S": "1", "RANKER_DEADLINE_MS": "1000"}
    with serve(env, tmp_path / "log") as served:
        still = next(one for one in family(served) if "ranker" in one.cmdline())
        still.suspend()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(40) == 0
        assert not still.is_running()


def test_ctrl_c_says_how_long_it_drains_and_a_second_one_ends_it(stocked: Shop, tmp_path: Path) -> None:
    env = stocked.environment | {"RANKER_DRAIN_S": "60"}
    with serve(env, tmp_path / "log") as served:
        served.process.send_signal(signal.SIGINT)
        wait_until(lambda: "requests are taken for 60 s more" in served.log.read_text(), 30)
        assert ask(served.url).status_code == 200
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(10) == 0
    assert "Traceback" not in served.log.read_text()


def test_closing_the_terminal_ends_the_service(stocked: Shop, tmp_path: Path) -> None:
    terminal, tty = pty.openpty()
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "bentoml", "serve", "service:Ranker", "--host", "127.0.0.1", "--port", str(port)],
        cwd=PROJECT,
        env=stocked.environment,
        stdin=tty,
        stdout=tty,
        stderr=tty,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(tty)
    try:
        (tmp_path / "log").touch()
        wait_ready(Served(f"http://127.0.0.1:{port}", process, tmp_path / "log"))
        workers = psutil.Process(process.pid).children(recursive=True)
        os.close(terminal)
        process.wait(WHOLE_AGAIN_S)
        _, alive = psutil.wait_procs(workers, timeout=5)
        assert not alive
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_service_of_a_demo_that_was_killed_ends(stocked: Shop, short_path: Path) -> None:
    port = free_port()
    env = stocked.environment | {"TMPDIR": str(short_path)}
    with (short_path / "log").open("wb") as out:
        demo = subprocess.Popen([sys.executable, "-c", START_FROM_A_DEMO, str(port)], env=env, stdout=out, stderr=out)
    served = Served(f"http://127.0.0.1:{port}", demo, short_path / "log")
    wait_ready(served)
    service = psutil.Process(demo.pid).children(recursive=True)
    demo.kill()
    demo.wait()
    _, alive = psutil.wait_procs(service, timeout=WHOLE_AGAIN_S)
    for process in alive:
        process.kill()
    assert not alive
    assert [path for path in short_path.iterdir() if path.is_dir()] == []
    assert "What started the service is gone" in served.log.read_text()
