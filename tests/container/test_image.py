"""The image as it would be deployed: a read-only root, no rights, a Redis user that may only read."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import httpx
import pytest
import yaml
from redis import Redis
from redis.exceptions import NoPermissionError

from tests.container.conftest import FEATURES, IMAGE, MEMORY, MODEL, SECRETS, Container, engine, running, wait_for
from tests.service.conftest import environment, serve

EXAMPLE = json.loads((FEATURES / "example.json").read_text())
KILL_A_WORKER = """
import os, pathlib, signal
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    if b"_bentoml_impl.worker.service" in (folder / "cmdline").read_bytes():
        os.kill(int(folder.name), signal.SIGKILL)
        break
else:
    raise SystemExit("no worker")
"""


def test_ranking_is_that_of_the_service_outside(container: Container, loaded: int, tmp_path: Path) -> None:
    answer = httpx.post(f"{container.url}/predict", json=EXAMPLE).json()
    url = f"redis://serving:{SECRETS['serving']}@127.0.0.1:{loaded}/0"
    env = environment(tmp_path, RANKER_REDIS_URL=url, RANKER_MODEL=MODEL)
    env["BENTOML_HOME"] = os.environ["BENTOML_HOME"]  # where the model is
    with serve(env, tmp_path / "log") as outside:
        expected = httpx.post(f"{outside.url}/predict", json=EXAMPLE).json()
    assert answer == expected
    assert not answer["missing"]
    assert not answer["degraded"]
    assert len(set(answer["scores"])) > 40


def test_metrics_are_served(container: Container) -> None:
    assert "ranker_requests_total" in httpx.get(f"{container.url}/metrics").text


def test_process_has_no_rights_and_its_limits(container: Container) -> None:
    status = container.inside("cat", "/proc/1/status").stdout
    assert re.search(r"^Uid:\s+1034\s+1034\s+1034\s+1034$", status, re.MULTILINE)
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    script = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
    assert int(container.inside("sh", "-c", script).stdout) == MEMORY
    for place in ("/home/bentoml/bento/x", "/app/x"):
        assert "Read-only" in container.inside("sh", "-c", f"echo >{place}", check=False).stderr


def test_health_check_follows_readiness(container: Container) -> None:
    (image,) = json.loads(engine("image", "inspect", IMAGE).stdout)
    check = (image["Config"].get("Healthcheck") or image.get("HealthCheck") or image["Healthcheck"])["Test"]
    assert check[0] == "CMD"
    assert container.inside(*check[1:]).returncode == 0
    # The same, asked where nobody serves.
    assert engine("exec", "--env", "PORT=1", container.name, *check[1:], check=False).returncode != 0


def test_doctor_runs_inside_and_finds_the_built_in_model(container: Container) -> None:
    done = container.inside("ranker", "doctor", "--json", check=False)
    found = {line["check"]: line for line in json.loads(done.stdout)["findings"]}
    assert found["model"]["status"] == "ok"
    assert MODEL in found["model"]["seen"]
    assert "demo" not in container.inside("ranker", "--help").stdout.split()


def test_trees_are_compiled_inside(container: Container) -> None:
    script = """
import numpy
from ranker.scoring.split.trees.webassembly import Layout
Layout().open(numpy.dtype("float32"))
print("compiled")
"""
    assert container.inside("/app/.venv/bin/python", "-c", script).stdout.strip() == "compiled"


def test_serving_user_cannot_write(redis_port: int) -> None:
    with Redis(port=redis_port, username="serving", password=SECRETS["serving"]) as client:
        with pytest.raises(NoPermissionError):
            client.set("product:1", b"")
        with pytest.raises(NoPermissionError):
            client.flushall()
    with Redis(port=redis_port, username="loading", password=SECRETS["loading"]) as client:
        with pytest.raises(NoPermissionError):
            client.set("elsewhere", b"")
        with pytest.raises(NoPermissionError):
            client.flushall()


def test_image_is_small_and_holds_neither_compiler_nor_secret(container: Container) -> None:
    (image,) = json.loads(engine("image", "inspect", IMAGE).stdout)
    assert image["Size"] < 500e6
    found = container.inside("sh", "-c", "for c in cc gcc c++ ld make git; do command -v $c; done; true").stdout
    assert not found
    told = json.dumps(image) + engine("history", "--no-trunc", IMAGE).stdout
    names = {variable.partition("=")[0] for variable in image["Config"]["Env"]}
    assert not [name for name in names if name.startswith(("RANKER_", "PIP_")) or "INDEX" in name]
    assert not re.search(r"--(extra-)?index-url|--find-links|://[^/\s:]+:[^/\s]+@", told)
    settings = container.inside(
        "sh", "-c", "cat /home/bentoml/bento/env/python/* /home/bentoml/bento/bento.yaml"
    ).stdout
    assert not re.search(r"index-url|find-links|redis://", settings)


def test_labels_say_which_bento_model_and_version_are_in_it(container: Container) -> None:
    (image,) = json.loads(engine("image", "inspect", IMAGE).stdout)
    labels = image["Config"]["Labels"]
    bento = yaml.safe_load(container.inside("cat", "/home/bentoml/bento/bento.yaml").stdout)
    assert labels["ranker.bento"] == f"{bento['name']}:{bento['version']}"
    assert labels["ranker.model"] == MODEL == bento["labels"]["model"]
    described = {
        "org.opencontainers.image.title": "bento-ranker",
        "org.opencontainers.image.version": container.inside("ranker", "--version").stdout.split()[-1],
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
    assert described.items() <= labels.items()


def test_stop_is_clean_and_quick(loaded: int) -> None:
    with running(loaded) as container:
        began = time.monotonic()
        engine("stop", "--time", "30", container.name)
        took_s = time.monotonic() - began
        state = container.state()
    assert state["ExitCode"] == 0
    assert took_s < 15  # it would be killed after 30


def test_dead_worker_ends_the_container_and_the_policy_restarts_it(loaded: int) -> None:
    with running(loaded, "--restart", "on-failure:3") as container:
        container.inside("/app/.venv/bin/python", "-c", KILL_A_WORKER)
        wait_for(lambda: container.inspect()["RestartCount"] == 1)
        wait_for(container.ready)
        answer = httpx.post(f"{container.url}/predict", json=EXAMPLE).json()
        assert not answer["degraded"]
    with running(loaded) as container:
        container.inside("/app/.venv/bin/python", "-c", KILL_A_WORKER)
        wait_for(lambda: not container.state()["Running"])
        assert container.state()["ExitCode"] == 1
