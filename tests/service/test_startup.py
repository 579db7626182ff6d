"""A start that cannot succeed says why in one message, and ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import bentoml
import pytest

from ranker.demo.ports import free_port
from tests.service.conftest import ONNX, PROJECT, SCHEMA, Shop, environment, import_model
from tests.support.models import mlp_onnx, schema_of_width, temporary_model_store


def start(env: dict[str, str], port: int | None = None) -> tuple[int, str]:
    """Try to serve; return exit code and output."""
    command = [sys.executable, "-m", "bentoml", "serve", "service:Ranker", "--port", str(port or free_port())]
    process = subprocess.Popen(
        command,
        cwd=PROJECT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the workers too: it did start
        output, _ = process.communicate()
        pytest.fail(f"the service started:\n{output[-2000:]}")
    return process.returncode, output


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"RANKER_MODEL": "nowhere:1"}, ["nowhere:1 is not in the Bento model store", "ranker model import"]),
        (
            {"RANKER_REDIS_URL": "unix:///tmp/no-such.sock"},
            ["Redis cannot be reached: no connection to /tmp/no-such.sock: No such file or directory. Set"],
        ),
        (
            {"RANKER_RUNER": "x", "RANKER_WORKERS": "0", "RANKER_REDIS_URL": "redis://:hunter2@127.0.0.1:1/0"},
            ["RANKER_RUNER is not a setting; did you mean RANKER_RUNNER?", "RANKER_WORKERS='0'"],
        ),
        (
            {"RANKER_REDIS_URL": "redis://:hunter2@127.0.0.1:1/0"},
            ["Redis cannot be reached: no connection to 127.0.0.1:1: Connection refused. Set"],
        ),
        ({"RANKER_REDIS_URL": "redis://:hunter2/x@127.0.0.1:1"}, ["RANKER_REDIS_URL", "%XX"]),
        ({"RANKER_REDIS_URL": "redis://:hunter2@127.0.0.1:1/0?db=x"}, ["RANKER_REDIS_URL", "redis-py"]),
        ({"BENTOML_NO_UDS": "1"}, ["BENTOML_NO_UDS"]),
    ],
    ids=["model", "redis", "settings", "redis-tcp", "redis-password", "redis-option", "no-uds"],
)
def test_reason_is_said_without_a_traceback(shop: Shop, change: dict[str, str], said: list[str]) -> None:
    code, output = start(shop.environment | change)
    assert code != 0
    for words in said:
        assert words in output
    assert "Traceback" not in output
    assert "hunter2" not in output


def test_model_that_does_not_fit_its_schema_is_refused(shop: Shop, tmp_path: Path) -> None:
    tag = import_model(tmp_path, ONNX, SCHEMA, "narrow")
    other = mlp_onnx(SCHEMA.width + 1)
    stored = tmp_path / "bentoml" / "models" / "narrow" / "1" / "model.onnx"
    stored.write_bytes(other)
    code, output = start(environment(tmp_path, RANKER_REDIS_URL=shop.environment["RANKER_REDIS_URL"], RANKER_MODEL=tag))
    assert code != 0
    assert "Model narrow:1 cannot be served" in output
    assert "Traceback" not in output


def test_model_without_a_schema_is_refused(shop: Shop, tmp_path: Path) -> None:
    with temporary_model_store(tmp_path / "bentoml" / "models"), bentoml.models.create("bare:1") as model:
        Path(model.path_of("model.onnx")).write_bytes(mlp_onnx(schema_of_width(1, 1).width))
    code, output = start(
        environment(tmp_path, RANKER_REDIS_URL=shop.environment["RANKER_REDIS_URL"], RANKER_MODEL="bare:1")
    )
    assert code != 0
    assert "carries no feature schema" in output
    assert "Traceback" not in output
