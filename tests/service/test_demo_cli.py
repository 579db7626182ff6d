"""`ranker demo` as a newcomer runs it: a process of its own, with its own folder and model store."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from ranker.demo.ports import free_port
from ranker.demo.redis import EmbeddedRedis
from ranker.process import vendor_telemetry

RANKER = [sys.executable, "-m", "ranker", "demo"]


class Place:
    """A folder for the embedded Redis, and a model store."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "r"
        self.models = root / "bentoml" / "models"
        self.embedded = EmbeddedRedis(self.directory)
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("RANKER_", "BENTOML_"))}
        self.environ = {**outside, "BENTOML_HOME": str(root / "bentoml"), **vendor_telemetry.OFF}
        self.models.parent.mkdir()

    def demo(
        self, *options: str, code: int = 0, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [*RANKER, "--dir", str(self.directory), *options]
        done = subprocess.run(
            command, env={**self.environ, **(environ or {})}, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def state(self, name: str = "ranker-demo") -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.directory / "demo.json").read_bytes())[name]
        return state

    @contextmanager
    def serving(self, *options: str, environ: Mapping[str, str] | None = None) -> Iterator[tuple[Any, int]]:
        port = free_port()
        command = [*RANKER, "--dir", str(self.directory), "--serve", "--port", str(port), *options]
        settings = {**self.environ, "RANKER_RUNNER": "local", "RANKER_WORKERS": "1", **(environ or {})}
        with subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield process, port
            finally:
                process.terminate()
                process.stdout.read()


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Where the shop is built once."""
    with tempfile.TemporaryDirectory(prefix="ranker-", dir="/tmp") as name:
        place = Place(Path(name))
        place.demo()
        yield place
        place.embedded.stop()


@pytest.fixture
def empty_place(short_path: Path) -> Iterator[Place]:
    place = Place(short_path)
    yield place
    place.embedded.stop()


def test_shop_is_built_and_its_figures_recorded(place: Place) -> None:
    state = place.state()
    assert (state["users"], state["products"]) == (337, 80)
    assert (place.models / state["model"].replace(":", "/") / "model.onnx").exists()
    assert 0 < state["quality"]["auc_low"] < state["quality"]["auc"] < 1
    with Redis.from_url(place.embedded.url) as client:
        assert client.dbsize() == 337 + 80
        assert client.get("user:u001")[:2] == client.get("product:79")[:2] == b"RV"
    example = json.loads((place.directory / "example.json").read_bytes())
    assert example["userId"] == "u001"
    assert example["productIds"] == [str(i) for i in range(80)]


def test_second_run_changes_nothing(place: Place) -> None:
    before = place.state()
    out = place.demo().stdout
    assert "model, vectors" in out
    assert "Training" not in out
    assert "Loading" not in out
    assert "Reading" not in out
    assert f"AUC on the last {before['quality']['holdout_impressions']:,}" in out
    assert place.state() == before


def test_wiped_redis_is_loaded_again_without_training(place: Place) -> None:
    with Redis.from_url(place.embedded.url) as client:
        client.delete("product:79")
        out = place.demo().stdout
        assert "Loading product vectors: 80 of 80" in out
        assert "Training" not in out
        client.flushall()
        place.demo()
        assert client.dbsize() == 337 + 80


@pytest.mark.slow  # trains
def test_wiped_model_store_gets_a_model_for_the_same_vectors_again(place: Place) -> None:
    before = place.state()
    shutil.rmtree(place.models)
    out = place.demo().stdout
    after = place.state()
    assert f"storing it: {after['model']}" in out
    assert "Loading" not in out
    assert after["schema"] == before["schema"]
    assert (place.models / after["model"].replace(":", "/") / "model.onnx").exists()


@pytest.mark.slow  # trains
def test_broken_record_is_made_anew(place: Place) -> None:
    before = place.state()
    (place.directory / "demo.json").write_text('{"ranker-demo": {"model"')
    place.demo()
    after = place.state()
    assert (place.models / after["model"].replace(":", "/") / "model.onnx").exists()
    for trained in ("model", "quality"):  # made anew, and equal but for rounding
        before.pop(trained)
        after.pop(trained)
    assert after == before


def test_stop_ends_the_embedded_redis_and_keeps_its_data(place: Place) -> None:
    place.demo()
    assert "stopped" in place.demo("--stop").stdout
    assert not place.embedded.is_running()
    assert "No embedded Redis" in place.demo("--stop").stdout
    assert "model, vectors" in place.demo().stdout


def test_given_redis_is_used_and_none_started(place: Place, redis_url: str, redis_client: Redis) -> None:
    place.demo("--stop")
    out = place.demo(environ={"RANKER_REDIS_URL": redis_url}).stdout
    assert redis_client.dbsize() == 337 + 80
    assert "Training" not in out
    assert "embedded" not in out
    assert not place.embedded.is_running()


def test_somebody_elses_features_are_only_overwritten_by_force(
    place: Place, redis_url: str, redis_client: Redis
) -> None:
    redis_client.set("product:7", "[1, 2, 3]")
    given = {"RANKER_REDIS_URL": redis_url}
    assert "product:7" in place.demo(code=1, environ=given).stderr
    assert redis_client.keys() == [b"product:7"]
    place.demo("--force", environ=given)
    assert redis_client.get("product:7")[:2] == b"RV"


@pytest.mark.slow  # makes a catalogue
def test_synthetic_catalogue_has_the_size_asked_for(empty_place: Place) -> None:
    out = empty_place.demo("--size", "2500").stdout
    state = empty_place.state("ranker-synthetic")
    assert (state["users"], state["products"]) == (2500, 2500)
    assert f"RANKER_MODEL={state['model']} ranker serve" in out
    with Redis.from_url(empty_place.embedded.url) as client:
        assert client.dbsize() == 5000
        assert client.exists("product:p0002500", "user:u0002500") == 2
    assert "Loading" not in empty_place.demo("--size", "2500").stdout
    assert "Loading" in empty_place.demo("--size", "2600").stdout


@pytest.mark.slow  # makes a catalogue
def test_synthetic_catalogue_leaves_the_shops_example_alone(place: Place) -> None:
    place.demo()
    before = (place.directory / "example.json").read_bytes()
    built = json.loads(place.demo("--size", "50", "--json").stdout)
    assert (place.directory / "example.json").read_bytes() == before
    assert Path(built["example"]) == place.directory / "example-synthetic.json"
    assert json.loads(Path(built["example"]).read_bytes())["productIds"][0].startswith("p")
    assert built["model"].startswith("ranker-synthetic:")
    assert built["products"] == 50
    with Redis.from_url(place.embedded.url) as client:  # the shop's alone, for the tests that count
        client.delete(*client.keys("user:u0*"), *client.keys("product:p0*"))
        place.demo()


def test_quiet_demo_prints_its_model_alone(place: Place) -> None:
    command = [sys.executable, "-m", "ranker", "--quiet", "demo", "--dir", str(place.directory)]
    done = subprocess.run(command, env=place.environ, capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.split() == [place.state()["model"]]


@pytest.mark.parametrize("signum", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_served_shop_ranks_and_ends_cleanly_with_its_redis(place: Place, signum: signal.Signals) -> None:
    with place.serving() as (process, port):
        for line in process.stdout:
            if line.startswith("Ready at"):
                assert f"http://127.0.0.1:{port}" in line
                break
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", "/predict", (place.directory / "example.json").read_bytes())
        answer = json.loads(connection.getresponse().read())
        connection.close()
        assert sorted(answer["ranking"], key=int) == [str(i) for i in range(80)]
        assert not answer["missing"]
        assert len(set(answer["scores"])) > 40
        process.send_signal(signum)
        process.stdout.read()
        assert process.wait(60) == 0
    assert not place.embedded.is_running()


def test_service_that_cannot_start_gives_its_exit_code_and_leaves_nothing(empty_place: Place) -> None:
    with empty_place.serving(environ={"RANKER_MODEL": "absent:1"}) as (process, _):
        out = process.stdout.read()
        assert process.wait(60) != 0
    assert "the demo is left out" in out
    assert not empty_place.embedded.is_running()
    assert not (empty_place.directory / "demo.json").exists()


def test_end_while_still_building_stops_the_embedded_redis(empty_place: Place) -> None:
    with empty_place.serving() as (process, _):
        assert "embedded Redis" in process.stdout.readline()
        process.terminate()
        process.stdout.read()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert not empty_place.embedded.is_running()


def test_taken_port_is_named_before_anything_is_built(empty_place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        began = time.monotonic()
        done = empty_place.demo("--serve", "--port", str(port), code=1)
    assert f"Cannot listen on 127.0.0.1:{port}" in done.stderr
    assert not empty_place.directory.exists()
    assert time.monotonic() - began < 10


def test_invalid_settings_are_named_before_anything_is_built(empty_place: Place) -> None:
    done = empty_place.demo(code=1, environ={"RANKER_REDIS_ULR": "redis://localhost"})
    assert "did you mean RANKER_REDIS_URL" in done.stderr
    assert not empty_place.directory.exists()
