"""Nobody is asked but Redis: no name is looked up, no other machine is spoken to, by anything that Ranker runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest

from ranker.demo.servers import wait_for
from ranker.process import vendor_telemetry
from tests.service.conftest import PROJECT, Shop, serve
from tests.support.models import mlp_onnx

WATCHED_S = 15.0
"""ONNX Runtime looks up its maker's name 10 s after the first session."""
ADDRESS = re.compile(r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\("|inet_pton\(AF_INET6, ")([^"]+)"')
DNS = 53

strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace, which sees whom a process asks, is not installed: apt-get it"
)


def watched_by(trace: Path) -> list[str]:
    """The command that runs another and its children, and writes whom they speak to; the other is our child itself."""
    return ["strace", "-D", "-f", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-e", "signal=none", "-o", str(trace)]


def asked(trace: Path, pid: int) -> list[str]:
    """Return what was sent away from this machine, or to a name server on it, once the process and its trace ended."""
    wait_for(lambda: re.search(rf"^{pid} .*(exited|killed)", trace.read_text(errors="replace"), re.M) is not None)
    return [
        line
        for line in trace.read_text(errors="replace").splitlines()
        for port, host in ADDRESS.findall(line)
        if int(port) == DNS or not ip_address(host).is_loopback
    ]


def silenced_by_itself(shop: Shop, home: Path) -> dict[str, str]:
    """The environment of somebody who has not heard of telemetry, at a home of its own."""
    kept = {name: value for name, value in shop.environment.items() if name not in vendor_telemetry.OFF}
    return kept | {"HOME": str(home), "RANKER_RUNNER": "service"}


@strace
@pytest.mark.slow  # watches for longer than ONNX Runtime waits with its question
def test_a_service_asks_for_no_name_and_speaks_to_nobody_but_redis(stocked: Shop, tmp_path: Path) -> None:
    trace, home = tmp_path / "trace", tmp_path / "home"
    home.mkdir()
    env = silenced_by_itself(stocked, home)
    body = {"requestId": "r", "zipCode": "", "userId": "1", "productIds": ["1", "2", "3"]}
    with serve(env, tmp_path / "log", under=watched_by(trace)) as served:
        end = time.monotonic() + WATCHED_S
        while time.monotonic() < end:
            answer = httpx.post(f"{served.url}/predict", json=body, timeout=10)
            assert answer.json().get("degraded") is False, answer.text
            with suppress(subprocess.TimeoutExpired):
                served.process.wait(0.5)  # it serves on
    assert asked(trace, served.process.pid) == []
    assert kept_in(home) == []


@strace
@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_what_the_watch_is_for_would_be_seen(family: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    away = {"AF_INET": "192.0.2.1", "AF_INET6": "2001:db8::1"}[family]  # for documentation: nobody's
    code = f"import socket; socket.socket(socket.{family}, socket.SOCK_DGRAM).connect_ex(({away!r}, 9))"
    process = subprocess.Popen([*watched_by(trace), sys.executable, "-c", code], cwd=PROJECT)
    assert process.wait(60) == 0
    assert len(asked(trace, process.pid)) == 1


@pytest.fixture
def commands(stocked: Shop, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A home with a model to import, and the environment of a command there."""
    (tmp_path / "model.onnx").write_bytes(mlp_onnx(2))
    (tmp_path / "schema.yaml").write_text("user: {features: [a]}\nproduct: {features: [b]}\n")
    return tmp_path, silenced_by_itself(stocked, tmp_path) | {"BENTOML_HOME": str(tmp_path / "bentoml")}


def test_a_command_that_loads_a_model_leaves_no_telemetry_to_be_sent(commands: tuple[Path, dict[str, str]]) -> None:
    home, env = commands
    command = [sys.executable, "-m", "ranker", "model", "import", "model.onnx", "--schema", "schema.yaml"]
    subprocess.run([*command, "--name", "shop"], cwd=home, env=env, check=True, capture_output=True, timeout=60)
    assert kept_in(home) == []


def kept_in(home: Path) -> list[str]:
    """Return the files that ONNX Runtime keeps its events and the device's id in."""
    return [os.path.relpath(path, home) for path in home.rglob("*") if "onnxruntime" in path.name.lower()]
