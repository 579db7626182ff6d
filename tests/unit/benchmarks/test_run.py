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
@pytest.mark.slow  # starts contenders, and loads them
def test_harness_measures_a_contender(tmp_path: Path) -> None:
    options = ["--quick", "--profile", "ids", "--contenders", "bare-asgi,ranker-local", "--levels", "1"]
    options += ["--seconds", "1", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", *options], cwd=PROJECT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "latest.json").read_text())
    assert list(result["profiles"]) == ["ids"]
    contenders = result["profiles"]["ids"]["contenders"]
    for name in ("bare-asgi", "ranker-local"):  # which have given the trainer's scores
        cell = contenders[name]["closed"]["1"]
        assert cell["requests"] > 0
        assert cell["errors"] == 0
        assert cell["cpu_s_per_1000"] > 0
        assert contenders[name]["alone"]["warm_ms"] > 0
        assert f"| {name} | 1 |" in (tmp_path / "latest.md").read_text()
    assert contenders["ranker-local"]["alone"]["product_bytes"] > 4 * 20


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (Debian: apt-get install wrk)")
@pytest.mark.parametrize(
    ("module", "options", "begun"),
    [
        ("run", ["--profile", "light", "--contenders", "bare-asgi", "--levels", "1", "--seconds", "60"], "round 1"),
        ("targets", ["open", "--profile", "light", "--contenders", "bare-asgi"], "started"),
    ],
)
@pytest.mark.slow
def test_harness_that_is_told_to_end_leaves_nothing(
    module: str, options: list[str], begun: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-u", "-m", f"benchmarks.{module}", *options]
    command += ["--out", str(tmp_path)] if module == "run" else []
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as harness:
        assert harness.stdout is not None
        while begun not in harness.stdout.readline():  # the first contender is being started: all else is there
            pass
        children = psutil.Process(harness.pid).children(recursive=True)
        proxy = next(child for child in children if "benchmarks.harness.delay" in child.cmdline())
        directory = Path(proxy.cmdline()[-2]).parent  # its words end with two sockets and a delay
        assert (directory / "redis.sock").exists()
        harness.terminate()
        assert harness.wait(60) == 128 + signal.SIGTERM
    assert not directory.exists()
    _, alive = psutil.wait_procs(children, timeout=30)  # orphans are for somebody else to reap
    assert not alive


def test_every_script_that_starts_others_ends_them_when_it_is_told_to() -> None:
    scripts = {path.name: path.read_text() for path in (PROJECT / "benchmarks").glob("*.py")}
    starting = {name for name, text in scripts.items() if "with prepared(" in text}
    assert starting == {name for name, text in scripts.items() if "\n    end_when_told()\n" in text}
    assert {"run.py", "promises.py", "overload.py"} <= starting
