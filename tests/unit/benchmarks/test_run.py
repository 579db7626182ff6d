"""The whole harness, once and tiny, where wrk is installed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

PROJECT = Path(__file__).parents[3]


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (Debian: apt-get install wrk)")
def test_harness_measures_a_contender(tmp_path: Path) -> None:
    options = ["--quick", "--contenders", "bare-asgi", "--levels", "1", "--seconds", "1", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", *options], cwd=PROJECT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "latest.json").read_text())
    cell = result["contenders"]["bare-asgi"]["closed"]["1"]
    assert cell["requests"] > 0
    assert cell["errors"] == 0
    assert cell["cpu_s_per_1000"] > 0
    assert "| bare-asgi | 1 |" in (tmp_path / "latest.md").read_text()


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (Debian: apt-get install wrk)")
def test_harness_that_is_told_to_end_leaves_nothing(tmp_path: Path) -> None:
    options = ["--contenders", "bare-asgi", "--levels", "1", "--seconds", "60", "--out", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "benchmarks.run", *options], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ) as harness:
        assert harness.stdout is not None
        harness.stdout.readline()  # the first contender is being started: all else is there
        children = psutil.Process(harness.pid).children(recursive=True)
        proxy = next(child for child in children if "benchmarks.harness.delay" in child.cmdline())
        directory = Path(proxy.cmdline()[-2]).parent  # its words end with two sockets and a delay
        assert (directory / "redis.sock").exists()
        harness.terminate()
        assert harness.wait(60) == 128 + signal.SIGTERM
    assert not directory.exists()
    _, alive = psutil.wait_procs(children, timeout=30)  # orphans are for somebody else to reap
    assert not alive
