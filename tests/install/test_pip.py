"""Installed by the pip that Debian 12 ships, into empty environments: `make install-test`. Asks the package index."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ranker.demo.ports import free_port
from ranker.demo.servers import wait_for
from tests.support.pages import PROJECT, README, page

PIP = "23.0.1"
RESOLVE_S = 420
"""A set of versions is found in a minute, or, where pip has to go back, not in ten; on a busy machine three more
minutes go into unpacking what was found."""
FIRST_ANSWER_S = 60
"""From installed to the first ranking: a model is trained, features are loaded, and processes start."""


class Machine:
    """An empty environment with an old pip, an empty home, and a folder to work in."""

    def __init__(self, root: Path) -> None:
        self.bin, self.folder = root / "venv" / "bin", root / "work"
        self.folder.mkdir()
        # Where the index is, and no more, comes from outside.
        outside = {name: os.environ[name] for name in os.environ if name.startswith("PIP_") or "PROXY" in name.upper()}
        own = {"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(root / "home"), "TMPDIR": "/tmp"}
        self.environ = outside | own
        subprocess.run([sys.executable, "-m", "venv", root / "venv"], check=True)
        subprocess.run([self.bin / "pip", "install", "--quiet", f"pip=={PIP}"], check=True, timeout=RESOLVE_S)

    def run(self, command: str, cwd: Path | None = None, timeout_s: float = 60, **environ: str) -> str:
        done = subprocess.run(
            shlex.split(command),
            cwd=cwd or self.folder,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr


@pytest.fixture
def machine(short_path: Path) -> Machine:
    return Machine(short_path)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    (built,) = folder.glob("bento_ranker-*.whl")
    return built


def typed() -> list[str]:
    """Return what the README has somebody type who has no checkout, line by line."""
    (start,) = re.findall(r"(?ms)^## Quick start$(.*?)^## ", README)
    lines = "".join(re.findall(r"(?ms)^```sh\n(.*?)^```$", start)).splitlines()
    return [line.partition("  #")[0] for line in lines if not line.startswith("make ")]


@contextmanager
def shell(machine: Machine, line: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Have a shell of its own run a line, until Ctrl-C at the end of the block; then nothing is left running."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["sh", "-c", line],
            cwd=machine.folder,
            env=machine.environ,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            machine.run("ranker demo --stop")


@pytest.mark.timeout(2 * RESOLVE_S)
def test_three_lines_of_the_readme_lead_from_an_empty_folder_and_home_to_a_ranking(
    machine: Machine, wheel: Path, tmp_path: Path
) -> None:
    install, start, ask = typed()
    assert "'bento-ranker[demo]'" in install
    assert start.endswith("ranker serve")
    assert "127.0.0.1:3000" in ask
    machine.run(install.replace("bento-ranker[demo]", f"{wheel}[demo]"), timeout_s=RESOLVE_S)
    before = set(machine.bin.parent.rglob("*/site-packages/*"))
    port, log = free_port(), tmp_path / "log"
    began = time.monotonic()
    with shell(machine, f"{start} --port {port}", log) as serving:
        wait_for(lambda: b"Rank: " in log.read_bytes() or serving.poll() is not None, FIRST_ANSWER_S)
        assert serving.poll() is None, log.read_text()
        answer = json.loads(machine.run(ask.replace("3000", str(port))))
        took_s = time.monotonic() - began
    assert "bento-ranker[" not in log.read_text()  # nothing is lacking
    assert len(answer["ranking"]) == 80
    assert answer["scores"] == sorted(answer["scores"], reverse=True)
    assert (answer["missing"], answer["missingUser"], answer["degraded"]) == ([], False, False)
    assert took_s < FIRST_ANSWER_S, log.read_text()
    assert set(machine.bin.parent.rglob("*/site-packages/*")) == before


@pytest.mark.timeout(2 * RESOLVE_S)
@pytest.mark.parametrize("extras", ["", "[otlp]"])
def test_the_tutorials_own_line_installs_what_the_tutorial_uses(machine: Machine, extras: str) -> None:
    (line,) = re.findall(r"(?m)^pip install .*$", page("tutorial/your-model"))
    if extras:
        line = re.sub(r"\[files,import\].*", "[files,otlp]'", line)
    machine.run(line, cwd=PROJECT, timeout_s=RESOLVE_S)
    imported = ["lightgbm", "onnxmltools", "sklearn"] if not extras else ["opentelemetry.exporter.otlp.proto.http"]
    machine.run(f"python -c 'import pyarrow, ranker, {', '.join(imported)}'")
    assert "serve" in machine.run("ranker --help")
    examined = subprocess.run(
        [machine.bin / "ranker", "doctor"],
        env=machine.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ("install 'bento-ranker[otlp]'" in examined.stdout) == (not extras)
