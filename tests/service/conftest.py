"""Served for real: a process of its own, a model of its own, the session's Redis."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import httpx
import numpy as np
import pytest
from redis import Redis

from ranker.demo.ports import free_port
from ranker.process import vendor_telemetry
from ranker.scoring.model import OnnxModel
from ranker.training import importing
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import encode
from tests.support.models import mlp_onnx, schema_of_width, temporary_model_store

PROJECT = Path(__file__).parent.parent.parent
SCHEMA = schema_of_width(6, 9, user_default=0.25, product_default=-0.5)
ONNX = mlp_onnx(SCHEMA.width)
USERS, PRODUCTS = 20, 400


@dataclass(frozen=True)
class Shop:
    """What is stored, so that a test can work out the right answer itself."""

    users: np.ndarray
    products: np.ndarray
    tag: str
    environment: dict[str, str]

    def scores(self, user_id: str, product_ids: list[str]) -> np.ndarray:
        """Score offline what the service should."""
        schema = SCHEMA
        user = self.users[int(user_id)] if user_id.isdigit() else schema.user.defaults
        rows = [self.products[int(i)] if i.isdigit() else schema.product.defaults for i in product_ids]
        matrix = np.array([np.concatenate([user, row]) for row in rows], dtype=np.float32)
        return OnnxModel(ONNX, schema).score(matrix)


@dataclass(frozen=True)
class Served:
    url: str
    process: subprocess.Popen[bytes]
    log: Path


def import_model(home: Path, onnx: bytes, schema: FeatureSchema, name: str, *, split: bool = True) -> str:
    """Import into a model store of its own, as the command does; return the tag. A process would take 2 s to start."""
    store = home / "bentoml" / "models"
    store.mkdir(parents=True, exist_ok=True)
    with temporary_model_store(store), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that nothing was compared with a trainer's scores
        return importing.import_model(onnx, schema, name=name, version="1", split=split).tag


def environment(home: Path, **settings: str) -> dict[str, str]:
    """The environment of a served process: nothing of RANKER_* but what the test says, one API worker, and patience."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RANKER_", "BENTOML_", "PROMETHEUS_"))}
    return (
        kept
        | {
            "BENTOML_HOME": str(home / "bentoml"),
            **vendor_telemetry.OFF,
            "PYTHONPATH": str(PROJECT),
            "TMPDIR": "/tmp",
            "RANKER_DRAIN_S": "0",
            "RANKER_DEADLINE_MS": "10000",  # tests run beside others: an answer within a second is no claim of theirs
            "RANKER_WORKERS": "1",  # what one remembers another does not, and each takes seconds of CPU to start
        }
        | settings
    )


def import_service() -> ModuleType:
    """Import `ranker.service` afresh, as `bentoml serve` would."""
    spec = importlib.util.spec_from_file_location("service_in_process", PROJECT / "ranker" / "service.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # pydantic looks there for what annotations name
    with warnings.catch_warnings():  # BentoML wraps the wire types in a way that pydantic deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        spec.loader.exec_module(module)
    return module


def set_up_shop(home: Path, redis_url: str) -> Shop:
    """Import the model into a store below `home`, and make up vectors."""
    random = np.random.default_rng(7)
    tag = import_model(home, ONNX, SCHEMA, "test-shop")
    users = random.normal(size=(USERS, SCHEMA.user.width)).astype(np.float32)
    products = random.normal(size=(PRODUCTS, SCHEMA.product.width)).astype(np.float32)
    return Shop(users, products, tag, environment(home, RANKER_REDIS_URL=redis_url, RANKER_MODEL=tag))


def stock(shop: Shop, redis_url: str) -> None:
    """Have Redis hold the shop's vectors, and nothing else."""
    with Redis.from_url(redis_url) as client:
        client.flushall()
        for name, matrix in (("user", shop.users), ("product", shop.products)):
            vectors = encode(matrix, SCHEMA.fingerprint)
            client.mset({f"{name}:{i}": vector for i, vector in enumerate(vectors)})


@pytest.fixture(scope="session")
def shop(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return set_up_shop(tmp_path_factory.mktemp("home"), redis_url)


@pytest.fixture(scope="module")
def stocked(shop: Shop, redis_url: str) -> Shop:
    stock(shop, redis_url)
    return shop


@contextmanager
def serve(
    env: dict[str, str],
    log: Path,
    target: str = "service:Ranker",
    cwd: Path = PROJECT,
    port: int | None = None,
    under: Sequence[str] = (),
) -> Iterator[Served]:
    """Run `bentoml serve` until the block ends, ready; show its log when it does not get so far.

    `under` is a command that runs another, such as strace.
    """
    port = port or free_port()
    command = [*under, sys.executable, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            served = Served(f"http://127.0.0.1:{port}", process, log)
            wait_ready(served)
            yield served
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise


def wait_ready(served: Served, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if served.process.poll() is not None:
            break
        try:
            if httpx.get(f"{served.url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    pytest.fail(f"the service did not become ready:\n{served.log.read_text()[-4000:]}")


@pytest.fixture(scope="module", params=["service", "local"])
def served(request: pytest.FixtureRequest, stocked: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("served") / "log"
    with serve(stocked.environment | {"RANKER_RUNNER": request.param, "RANKER_WORKERS": "auto"}, log) as running:
        yield running
    text = log.read_text()
    assert "Traceback" not in text, text[-4000:]


@pytest.fixture(scope="module")
def local(stocked: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One worker that scores by itself, for claims that neither a runner nor a second worker has a part in."""
    log = tmp_path_factory.mktemp("served") / "log"
    with serve(stocked.environment | {"RANKER_RUNNER": "local"}, log) as running:
        yield running
    text = log.read_text()
    assert "Traceback" not in text, text[-4000:]
