"""Surroundings of the contenders, made for one run and gone after it: Redis, vectors, a model store, bodies.

Owns a temporary directory with a short path, for sockets are in it. Nothing outside it is read or written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from redis import Redis

from benchmarks.harness import delay, workload
from benchmarks.harness.contender import Contender
from ranker.demo import synthetic
from ranker.demo.loader import Loader
from ranker.demo.redis import EmbeddedRedis
from ranker.loadtest.bodies import bodies as request_bodies
from ranker.process import vendor_telemetry
from ranker.vectors.encoding import make_keys
from ranker.vectors.rows import Matrix

PROJECT = Path(__file__).resolve().parents[2]
FOREIGN = ("RANKER_", "BENTOML_", "PROMETHEUS_", "BENCH_", "UVICORN_", "OTEL_")
"""Variables of the caller that must not reach a contender."""
DATABASES = {"binary": workload.DB_BINARY, "json": workload.DB_JSON, "large": workload.DB_LARGE}
JSON_BATCH = 1000
STORE_MODEL = """
import sys
from ranker.demo import synthetic
from ranker.scoring.registry import store_model
print("TAG", store_model(open(sys.argv[1], "rb").read(), synthetic.schema(), "ranker-synthetic")[0])
"""


@dataclass(frozen=True)
class Surroundings:
    """Surroundings of one run: what contenders, generators and checks need.

    Attributes:
        directory: Where everything is.
        redis: Redis's process.
        model_file: The ONNX file.
        model_tag: The same in the Bento model store.
        users: All users' vectors (U, W).
        products: All products' vectors (P, W).
    """

    directory: Path
    redis: psutil.Process
    model_file: Path
    model_tag: str
    users: Matrix
    products: Matrix

    def redis_url(self, *, database: int, delayed: bool = False) -> str:
        """Return the URL of a database, at once or through the delaying proxy."""
        return f"unix://{self.directory / ('delayed.sock' if delayed else 'redis.sock')}?db={database}"

    def environment(self, contender: Contender) -> dict[str, str]:
        """Return the environment of a contender's processes."""
        url = self.redis_url(database=DATABASES[contender.store], delayed=contender.delayed)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        own = {
            "TMPDIR": str(self.directory),
            "PYTHONPATH": str(PROJECT),
            "BENTOML_HOME": str(self.directory / "bentoml"),
            **vendor_telemetry.OFF,
        }
        theirs = (
            {"RANKER_REDIS_URL": url, "RANKER_MODEL": self.model_tag}
            if contender.is_ranker
            else {"BENCH_REDIS_URL": url, "BENCH_MODEL": str(self.model_file), "BENCH_MODEL_TAG": self.model_tag}
        )
        return {**kept, **own, **theirs, **contender.settings}

    def bodies(self, products_per_request: int = workload.PRODUCTS_PER_REQUEST) -> Path:
        """Return the file of request bodies, one a line."""
        path = self.directory / f"bodies-{products_per_request}"
        if not path.exists():
            users, products = synthetic.user_ids(len(self.users)), synthetic.product_ids(len(self.products))
            lines = request_bodies(users, products, products_per_request=products_per_request)
            path.write_text("\n".join(lines) + "\n")
        return path

    def load_large(self) -> Path:
        """Load the large catalogue, if it is not there, and return the file of bodies that ask for its products."""
        path = self.directory / "bodies-large"
        if not path.exists():
            schema, n = synthetic.schema(), workload.LARGE_PRODUCTS
            users, products = synthetic.user_ids(len(self.users)), synthetic.product_ids(n)
            loader = Loader(self.redis_url(database=workload.DB_LARGE))
            loader.load(schema.user, users, [self.users], schema.fingerprint)
            loader.load(schema.product, products, synthetic.product_rows(n), schema.fingerprint)
            loader.close()
            path.write_text("\n".join(request_bodies(users, products)) + "\n")
        return path


@contextmanager
def prepared() -> Iterator[Surroundings]:
    """Have everything there within the block."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rb-", dir="/tmp")))
        server = EmbeddedRedis(directory)
        server.start()
        stack.callback(server.stop)
        schema = synthetic.schema()
        users, products = (
            np.concatenate(list(synthetic.user_rows(workload.USERS))),
            np.concatenate(list(synthetic.product_rows(workload.PRODUCTS))),
        )
        loader = Loader(f"{server.url}?db={workload.DB_BINARY}")
        json_client = stack.enter_context(Redis.from_url(f"{server.url}?db={workload.DB_JSON}"))
        for entity, ids, rows in (
            (schema.user, synthetic.user_ids(len(users)), users),
            (schema.product, synthetic.product_ids(len(products)), products),
        ):
            loader.load(entity, ids, [rows], schema.fingerprint)
            for start in range(0, len(rows), JSON_BATCH):
                names = make_keys(entity, ids[start : start + JSON_BATCH])
                values = map(json_in_json, rows[start : start + JSON_BATCH])
                json_client.mset({str(name): value for name, value in zip(names, values, strict=True)})
        loader.close()
        # A background save in the middle of a measurement would be measured.
        json_client.config_set("save", "")
        process = psutil.Process(int(json_client.info("server")["process_id"]))
        model_file = directory / "model.onnx"
        model_file.write_bytes(synthetic.build_model())
        stack.enter_context(delay.proxy(directory / "redis.sock", directory / "delayed.sock"))
        yield Surroundings(directory, process, model_file, store_model(directory, model_file), users, products)


def json_in_json(row: Matrix) -> str:
    """Return a vector as the usual design stores it: a JSON string that holds a JSON array."""
    # The shortest digits that give the same float32.
    return json.dumps("[" + ", ".join(np.format_float_positional(value, trim="0") for value in row) + "]")


def store_model(directory: Path, model_file: Path) -> str:
    """Store the model in a process of its own, for bentoml reads BENTOML_HOME when it is imported."""
    environment = {**os.environ, "BENTOML_HOME": str(directory / "bentoml"), **vendor_telemetry.OFF}
    command = [sys.executable, "-c", STORE_MODEL, str(model_file)]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return next(line.removeprefix("TAG ") for line in done.stdout.splitlines() if line.startswith("TAG "))
