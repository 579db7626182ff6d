"""`ranker serve` as somebody who installed the package runs it: in a folder of their own, without `service.py`."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from redis import Redis

from ranker.demo.ports import free_port
from ranker.demo.servers import wait_for
from ranker.vectors.stored.encoding import encode
from tests.service.conftest import Shop

RANKER = [sys.executable, "-m", "ranker", "serve"]


class Foreground:
    """A run of `ranker serve`, whose log says what it printed."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    @property
    def printed(self) -> str:
        return self._log.read_text()

    def wait_for(self, text: str) -> None:
        wait_for(lambda: text in self.printed or self.process.poll() is not None, 60)
        assert text in self.printed, self.printed


@contextmanager
def serving(env: dict[str, str], folder: Path, log: Path, *options: str) -> Iterator[Foreground]:
    """Run it until it has said what it says when it is ready."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*RANKER, "--port", str(free_port()), *options], cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        foreground = Foreground(process, log)
        foreground.wait_for("API: ")
        yield foreground
    finally:
        for _ in range(30):  # the second one ends it, if it is not taken for the first
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(1)
        assert process.poll() is not None


def printed_request(printed: str) -> tuple[str, str]:
    """Return URL and body of the curl command that was printed."""
    (command,) = re.findall(r"(?m)^Rank: (.*)$", printed)
    words = shlex.split(command)
    assert words[0] == "curl"
    return next(word for word in words if word.startswith("http:")), words[-1]


def test_any_folder_serves_and_the_printed_request_is_answered_with_what_is_stored(
    stocked: Shop, redis_url: str, tmp_path: Path
) -> None:
    env = {
        name: value for name, value in stocked.environment.items() if name not in ("RANKER_MODEL", "RANKER_REDIS_URL")
    }
    env["RANKER_DRAIN_S"] = "90"
    folder = tmp_path / "empty"
    folder.mkdir()
    options = ["--model", stocked.tag, "--redis", redis_url, "--workers", "1", "--runner", "local"]
    with Redis.from_url(redis_url) as client:  # another model's, which this one cannot read
        client.mset({f"{kind}:{i}": encode(np.zeros((1, 3)), 7)[0] for kind in ("user", "product") for i in "!#+-"})
    with serving(env, folder, tmp_path / "log", *options) as served:
        url, body = printed_request(served.printed)
        answer = httpx.post(url, content=body, headers={"content-type": "application/json"}).raise_for_status()
        assert answer.headers["x-ranker-model"] == stocked.tag
        asked = json.loads(body)["productIds"]
        assert len(asked) == 3
        assert sorted(answer.json()["ranking"]) == sorted(asked)
        assert not answer.json()["missingUser"]
        assert not answer.json()["missing"]
        pages = re.findall(r"(?m)^(?:Playground|API): +(\S+)(?: \(OpenAPI: (\S+)\))?$", served.printed)
        assert [httpx.get(page).status_code for found in pages for page in found if page] == [200, 200, 200]

        served.process.send_signal(signal.SIGINT)
        served.wait_for("Ctrl-C ends it at once")
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(45) == 0  # the first alone has 90 s
    assert list(folder.iterdir()) == []


def test_who_has_stored_nothing_is_told_how(shop: Shop, redis_client: Redis, redis_url: str, tmp_path: Path) -> None:
    redis_client.flushall()
    env = shop.environment | {"RANKER_REDIS_URL": redis_url}
    with serving(env, tmp_path, tmp_path / "log", "--runner", "local") as served:
        assert json.loads(printed_request(served.printed)[1])["userId"] == "USER"
        served.wait_for("`ranker features load`")


def test_ctrl_c_while_the_service_is_imported_ends_it_without_a_traceback(shop: Shop, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as out:
        command = [*RANKER, "--port", str(free_port())]
        process = subprocess.Popen(command, cwd=tmp_path, env=shop.environment, stdout=out, stderr=subprocess.STDOUT)

    def is_importing() -> bool:
        children = psutil.Process(process.pid).children()
        return any("site-packages" in part.path for child in children for part in child.memory_maps())

    try:
        wait_for(is_importing, 60)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert "Traceback" not in log.read_text()


def refusal(env: dict[str, str], folder: Path, *options: str) -> str:
    done = subprocess.run([*RANKER, *options], cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


def test_taken_port_is_one_sentence(shop: Shop, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refusal(shop.environment, tmp_path, "--port", str(port))
    assert said.startswith(f"Error: Cannot listen on 127.0.0.1:{port}: Address already in use.")
    assert "\n" not in said


def test_model_store_that_bentoml_cannot_complete_is_one_sentence(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "envs").write_text("no folder")
    environment = shop.environment | {"BENTOML_HOME": str(tmp_path / "home")}
    said = refusal(environment, tmp_path, "--port", str(free_port()))
    assert said.startswith(f"Error: BentoML needs the folder {tmp_path}/home/envs, which cannot be made: File exists.")
    assert "set BENTOML_HOME to" in said
    listed = subprocess.run(
        [sys.executable, "-m", "ranker", "model", "list"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert f"BentoML needs the folder {tmp_path}/home/envs, which cannot be made" in " ".join(listed.stderr.split())


def test_unknown_model_is_named_once_as_an_error(shop: Shop, tmp_path: Path) -> None:
    said = refusal(shop.environment, tmp_path, "--model", "nowhere:1", "--port", str(free_port()))
    assert said.count("nowhere:1") == 1
    assert "Error: Model nowhere:1 is not in the Bento model store" in said


@pytest.mark.parametrize(
    ("option", "value", "named"), [("--workers", "none", "RANKER_WORKERS"), ("--redis", "http://x", "RANKER_REDIS_URL")]
)
def test_option_out_of_bounds_is_named_before_anything_starts(
    shop: Shop, tmp_path: Path, option: str, value: str, named: str
) -> None:
    assert named in refusal(shop.environment, tmp_path, option, value)
