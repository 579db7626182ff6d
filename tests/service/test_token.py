"""Token of a service, shown by callers while one replaces another, and by Ranker's own clients."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from ranker.errors import ServiceUnreachable
from ranker.upkeep.parity import Service
from tests.service.conftest import PRODUCTS, PROJECT, SCHEMA, USERS, Served, Shop, serve

OLD, NEW = "correct-horse-battery", "battery-horse-correct"
BODY = {"requestId": "r", "userId": "3", "productIds": ["1", "2", "3"]}


@pytest.fixture(scope="module")
def served(stocked: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("served") / "log"
    settings = {"RANKER_RUNNER": "local", "RANKER_API_TOKEN": f"{OLD},{NEW}"}
    with serve(stocked.environment | settings, log) as running:
        yield running
    text = log.read_text()
    assert OLD not in text
    assert NEW not in text


def run(shop: Shop, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ranker", *arguments]
    env = shop.environment | variables
    return subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=100, check=False)


def test_both_tokens_are_taken_while_one_replaces_the_other(served: Served) -> None:
    for token, status in ((OLD, 200), (NEW, 200), (f"{OLD},{NEW}", 401), ("another-horse-battery", 401)):
        answer = httpx.post(f"{served.url}/predict", json=BODY, headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == status
        assert httpx.get(f"{served.url}/metrics", headers={"authorization": f"Bearer {token}"}).status_code == status


def test_verify_shows_the_token_to_the_service(served: Served, stocked: Shop, tmp_path: Path) -> None:
    files = {"users": (stocked.users, SCHEMA.user.names), "products": (stocked.products, SCHEMA.product.names)}
    for name, (rows, features) in files.items():
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", *features])
            writer.writerows([i, *map(repr, row)] for i, row in enumerate(rows.astype(np.float64).tolist()))
    command = ["features", "verify", "--json", "--service", served.url]
    command += [argument for name in files for argument in (f"--{name}", str(tmp_path / f"{name}.csv"))]
    done = run(stocked, *command, "--token-env", "SECRET", SECRET=NEW)
    assert done.returncode == 0, done.stdout + done.stderr
    findings = {finding["check"]: finding["status"] for finding in json.loads(done.stdout)["findings"]}
    assert findings["score parity"] == "ok"
    done = run(stocked, *command)
    assert done.returncode == 1
    assert "status 401" in done.stderr
    assert "Authorization: Bearer TOKEN" in done.stderr
    with pytest.raises(ServiceUnreachable, match="status 401"):
        Service(served.url, "another-horse-battery").rank("3", ["1"])


def test_bench_shows_the_token_to_the_service(served: Served, stocked: Shop, tmp_path: Path) -> None:
    for name, count in (("users", USERS), ("products", PRODUCTS)):
        (tmp_path / name).write_text("\n".join(map(str, range(count))))
    ids = ["--user-ids", str(tmp_path / "users"), "--product-ids", str(tmp_path / "products")]
    command = ["bench", served.url, "--rate", "20", "--seconds", "1", "--max-p99-ms", "20000", *ids]
    assert run(stocked, *command, "--token-env", "SECRET", SECRET=OLD).returncode == 0
    assert "status 401" in run(stocked, *command).stderr
