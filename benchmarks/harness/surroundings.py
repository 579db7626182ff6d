"""Surroundings of the contenders, made for one profile and gone after it: Redis, vectors, a model store, bodies.

Owns a temporary directory with a short path, for sockets are in it. Nothing outside it is read or written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from redis import Redis

from benchmarks.harness import delay, workload
from benchmarks.harness.contender import WHOLE, Contender
from benchmarks.harness.workload import PRODUCTS, USERS
from benchmarks.profiles.profile import PROFILES, Profile, Scorer
from ranker.demo import synthetic
from ranker.demo.loader import Loader
from ranker.demo.redis import EmbeddedRedis
from ranker.ingest.writer import FeatureWriter
from ranker.loadtest.bodies import bodies as request_bodies
from ranker.process import vendor_telemetry
from ranker.vectors.rows import Key, Matrix
from ranker.vectors.stored.encoding import make_keys

PROJECT = Path(__file__).resolve().parents[2]
FOREIGN = ("RANKER_", "BENTOML_", "PROMETHEUS_", "BENCH_", "UVICORN_", "OTEL_")
"""Variables of the caller that must not reach a contender."""
DATABASES = {"binary": workload.DB_BINARY, "json": workload.DB_JSON, "large": workload.DB_LARGE}
JSON_BATCH = 1000
IMPORT_TIMEOUT_S = 120


@dataclass(frozen=True)
class Surroundings:
    """Surroundings of one profile: what contenders, generators and checks need.

    Attributes:
        directory: Where everything is.
        redis: Redis's process.
        profile: What is ranked by.
        score: How the model's trainer scores.
        model_file: The ONNX file.
        model_tag: The same in the Bento model store, split where that gains something.
        whole_tag: The same, not split.
        users: All users' rows (U, W).
        products: All products' rows (P, W).
    """

    directory: Path
    redis: psutil.Process
    profile: Profile
    score: Scorer
    model_file: Path
    model_tag: str
    whole_tag: str
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
        if contender.is_ranker:
            theirs = {"RANKER_REDIS_URL": url, "RANKER_MODEL": self.whole_tag if contender.whole else self.model_tag}
        else:
            theirs = {"BENCH_REDIS_URL": url, "BENCH_PROFILE": self.profile.name}
            theirs |= {"BENCH_MODEL": str(self.model_file), "BENCH_MODEL_TAG": self.whole_tag}
        return {**kept, **own, **theirs, **contender.settings}

    def bodies(self, products_per_request: int = workload.PRODUCTS_PER_REQUEST) -> Path:
        """Return the file of request bodies, one a line."""
        path = self.directory / f"bodies-{products_per_request}"
        if not path.exists():
            users, products = synthetic.user_ids(len(self.users)), synthetic.product_ids(len(self.products))
            lines = request_bodies(users, products, products_per_request=products_per_request)
            path.write_text("\n".join(lines) + "\n")
        return path

    def separate_bodies(self) -> list[bytes]:
        """Return bodies of one user that ask for every product once, in an order of their own."""
        user, n = synthetic.user_ids(1)[0], workload.PRODUCTS_PER_REQUEST
        ids = np.random.default_rng(workload.SEED).permutation(synthetic.product_ids(len(self.products))).tolist()
        lists = [ids[start : start + n] for start in range(0, len(ids), n)]
        asked = ({"requestId": "s", "userId": user, "productIds": one, "zipCode": ""} for one in lists)
        return [json.dumps(body, separators=(",", ":")).encode() for body in asked]

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
def prepared(profile: Profile = PROFILES["light"]) -> Iterator[Surroundings]:
    """Have everything there within the block."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rb-", dir="/tmp")))
        server = EmbeddedRedis(directory)
        server.start()
        stack.callback(server.stop)
        score = profile.build(directory)
        profile.write_schema(directory / "schema.yaml")
        schema, users, products = profile.schema(), profile.user_rows(USERS), profile.product_rows(PRODUCTS)
        client = stack.enter_context(Redis.from_url(f"{server.url}?db={workload.DB_JSON}"))
        with FeatureWriter(f"{server.url}?db={workload.DB_BINARY}", schema) as writer:
            writer.write_users(synthetic.user_ids(len(users)), profile.frame(users, of_users=True))
            writer.write_products(synthetic.product_ids(len(products)), profile.frame(products, of_users=False))
        ids = synthetic.user_ids(len(users)), synthetic.product_ids(len(products))
        stored = profile.layout.user, profile.layout.product
        for entity, names, rows, its in zip((schema.user, schema.product), ids, (users, products), stored, strict=True):
            _write_json(client, make_keys(entity, names), rows, its.features)
        # A background save in the middle of a measurement would be measured.
        client.config_set("save", "")
        process = psutil.Process(int(client.info("server")["process_id"]))
        tag = import_model(directory, f"bench-{profile.name}")
        whole_tag = import_model(directory, f"bench-{profile.name}{WHOLE}", "model.onnx", "--no-split")
        stack.enter_context(delay.proxy(directory / "redis.sock", directory / "delayed.sock"))
        model_file = directory / "model.onnx"
        yield Surroundings(directory, process, profile, score, model_file, tag, whole_tag, users, products)


def json_in_json(row: Matrix, features: int | None = None) -> str:
    """Return a row as the usual design stores it: a JSON string that holds a JSON array.

    Args:
        row: Columns (W,).
        features: How many are float32; those behind are ids. None: all.
    """
    # The shortest digits that give the same float32.
    values = [np.format_float_positional(value, trim="0") for value in row[:features]]
    return json.dumps(f"[{', '.join([*values, *(str(int(i)) for i in row[len(values) :])])}]")


def import_model(directory: Path, name: str, model: str = "model.onnx", *options: str) -> str:
    """Import a model of the directory, in a process of its own, as its users do; return its tag."""
    environment = {**os.environ, "BENTOML_HOME": str(directory / "bentoml"), **vendor_telemetry.OFF}
    command = [sys.executable, "-m", "ranker", "model", "import", str(directory / model), "--name", name, "--json"]
    command += ["--schema", str(directory / "schema.yaml"), *options]
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=IMPORT_TIMEOUT_S, check=False
    )
    if done.returncode:
        raise RuntimeError(f"ranker model import ended with {done.returncode}: {done.stderr[-1000:]}")
    return str(json.loads(done.stdout)["tag"])


def _write_json(client: Redis, keys: Sequence[Key], rows: Matrix, features: int) -> None:
    for start in range(0, len(rows), JSON_BATCH):
        batch = zip(keys[start : start + JSON_BATCH], rows[start : start + JSON_BATCH], strict=True)
        client.mset({key: json_in_json(row, features) for key, row in batch})
