"""The image that deploy/container.sh made, beside a Redis with the compose stack's own configuration and users.

Not part of `make test`: collected only when named, and told what to test by CONTAINER_*.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from redis.exceptions import RedisError

from ranker.demo.ports import free_port
from ranker.demo.server_binary import server_binary
from tests.service.conftest import PROJECT

ENGINE = os.environ["CONTAINER_ENGINE"]
IMAGE = os.environ["CONTAINER_IMAGE"]
MODEL = os.environ["CONTAINER_MODEL"]
FEATURES = Path(os.environ["CONTAINER_FEATURES"])
MEMORY = 1 << 30
SECRETS = {"serving": "for-reading-only-1", "loading": "for-writing-too-22"}
HARDENED = (
    *("--network", "host", "--read-only", "--tmpfs", "/tmp:rw,mode=1777,size=256m", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--pids-limit", "256"),
    *("--memory", str(MEMORY), "--memory-swap", str(MEMORY)),
)
"""As in deploy/compose.yaml; the network is the host's, so that nothing is set up but this container."""


def engine(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run one command of the engine; its output belongs to the error when it fails."""
    done = subprocess.run([ENGINE, *arguments], capture_output=True, text=True, timeout=120)
    assert not check or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done


def wait_for(holds: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
        except (httpx.HTTPError, RedisError):
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclass(frozen=True)
class Container:
    name: str
    url: str

    def inside(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return engine("exec", self.name, *command, check=check)

    def state(self) -> dict[str, Any]:
        return self.inspect()["State"]

    def inspect(self) -> dict[str, Any]:
        (found,) = json.loads(engine("inspect", self.name).stdout)
        return dict(found)

    def ready(self) -> bool:
        return httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200


@contextmanager
def running(redis_port: int, *options: str) -> Iterator[Container]:
    """Run the image until the block ends; print its log when something in the block fails."""
    port = free_port()
    name = f"ranker-test-{os.getpid()}-{port}"
    variables = {
        "PORT": str(port),
        "BENTOML_HOST": "127.0.0.1",
        "RANKER_REDIS_URL": f"redis://serving:{SECRETS['serving']}@127.0.0.1:{redis_port}/0",
        "RANKER_DRAIN_S": "0",
    }
    environment = [word for k, v in variables.items() for word in ("--env", f"{k}={v}")]
    engine("run", "--detach", "--name", name, *HARDENED, *environment, *options, IMAGE)
    container = Container(name, f"http://127.0.0.1:{port}")
    try:
        wait_for(container.ready)
        yield container
    except BaseException:
        log = engine("logs", name, check=False)
        print(log.stdout + log.stderr)
        raise
    finally:
        engine("rm", "--force", name, check=False)


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server that deploy/redis/start.sh started, with the example's features, which the image's own loader loaded."""
    home = tmp_path_factory.mktemp("redis")
    for name, password in SECRETS.items():
        (home / f"redis_{name}_password").write_text(password)
    # start.sh calls redis-server, as it is named in Redis' image.
    (home / "redis-server").symlink_to(server_binary())
    port = free_port()
    process = subprocess.Popen(
        [PROJECT / "deploy" / "redis" / "start.sh", "--dir", home, "--port", str(port), "--bind", "127.0.0.1"],
        env={"PATH": f"{home}:{os.environ['PATH']}", "SECRETS": str(home), "USERS_FILE": str(home / "users.acl")},
    )
    try:
        with Redis(port=port, username="serving", password=SECRETS["serving"]) as client:
            wait_for(client.ping)
        yield port
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def loaded(redis_port: int) -> int:
    url = f"redis://loading:{SECRETS['loading']}@127.0.0.1:{redis_port}/0"
    script = (
        "ranker features load /features/users.jsonl --entity user;"
        "ranker features load /features/products.jsonl --entity product"
    )
    engine(
        *("run", "--rm", *HARDENED, "--env", f"RANKER_REDIS_URL={url}", "--volume", f"{FEATURES}:/features:ro"),
        *("--entrypoint", "sh", IMAGE, "-ec", script),
    )
    return redis_port


@pytest.fixture(scope="module")
def container(loaded: int) -> Iterator[Container]:
    with running(loaded) as container:
        yield container
