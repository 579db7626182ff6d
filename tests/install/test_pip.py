"""Installed by the pip that Debian 12 ships, into empty environments: `make install-test`. Asks the package index."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from ranker.demo.ports import free_port
from ranker.demo.servers import wait_for
from tests.support.pages import PROJECT, page

PIP = "23.0.1"
RESOLVE_S = 240
"""A set of versions is found in half a minute, or, where pip has to go back, not in ten; downloads come on top."""


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


@pytest.mark.timeout(2 * RESOLVE_S)
def test_the_wheel_is_installed_and_serves_the_example_shop_from_any_folder(machine: Machine, wheel: Path) -> None:
    machine.run(f"pip install '{wheel}[demo]'", timeout_s=RESOLVE_S)
    before = set(machine.bin.parent.rglob("*/site-packages/*"))
    machine.run("ranker demo", timeout_s=120)
    port = free_port()
    with subprocess.Popen(
        ["ranker", "serve", "--port", str(port)], cwd=machine.folder, env=machine.environ, stdout=subprocess.DEVNULL
    ) as served:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: answers(url), 60)
            body = (machine.folder / ".ranker" / "example.json").read_bytes()
            answer = httpx.post(f"{url}/predict", content=body, headers={"content-type": "application/json"}).json()
            assert len(answer["ranking"]) == 80
            assert not answer["missing"]
        finally:
            served.terminate()
    machine.run("ranker demo --stop")
    assert set(machine.bin.parent.rglob("*/site-packages/*")) == before

    refused = subprocess.run(
        [machine.bin / "ranker", "doctor"],
        env=machine.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "install 'bento-ranker[otlp]'" in refused.stdout


@pytest.mark.timeout(2 * RESOLVE_S)
@pytest.mark.parametrize("extras", ["", "[otlp]"])
def test_the_tutorials_own_line_installs_what_the_tutorial_uses(machine: Machine, extras: str) -> None:
    (line,) = re.findall(r"(?m)^pip install .*$", page("tutorial/your-model"))
    if extras:
        line = re.sub(r"\[files\].*", "[files,otlp]'", line)
    machine.run(line, cwd=PROJECT, timeout_s=RESOLVE_S)
    imported = ["lightgbm", "onnxmltools", "sklearn"] if not extras else ["opentelemetry.exporter.otlp.proto.http"]
    machine.run(f"python -c 'import pyarrow, ranker, {', '.join(imported)}'")
    assert "serve" in machine.run("ranker --help")


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False
