"""Rankings without the service: what `ranker rank` answers is what is served, byte for byte."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.service.conftest import SCHEMA, Served, Shop

REQUESTS: list[dict[str, Any]] = [
    {"requestId": "all", "userId": "3", "productIds": [str(i) for i in range(100)]},
    {"requestId": "top", "userId": 7, "productIds": ["5", "none", "6"], "topK": 2, "zipCode": "8001"},
    {"requestId": "none", "userId": "nobody", "productIds": ["no", "neither"]},
    {"requestId": "twice", "userId": "3", "productIds": ["1", "1"]},
]


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_text("\n\n".join(map(json.dumps, REQUESTS)) + "\n")
    return path


def run(shop: Shop, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "ranker", "rank", *map(str, arguments)]
    return subprocess.run(command, env=shop.environment, capture_output=True, timeout=100, check=False)


def write_rows(path: Path, rows: np.ndarray, names: tuple[str, ...]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sku", *names])
        writer.writerows([i, *map(repr, row)] for i, row in enumerate(rows.astype(np.float64).tolist()))
    return path


def check(served: Served, lines: list[bytes]) -> None:
    assert len(lines) == len(REQUESTS)
    for request, line in zip(REQUESTS, lines, strict=True):
        answer = httpx.post(f"{served.url}/predict", json=request)
        assert line == answer.content


def test_requests_of_a_file_are_answered_as_they_are_served(local: Served, stocked: Shop, requests: Path) -> None:
    done = run(stocked, requests)
    assert (done.returncode, done.stderr.decode().splitlines()[-1]) == (
        1,
        "3 requests answered (1 without any features), 1 refused.",
    )
    check(local, done.stdout.splitlines())


@pytest.mark.slow  # runs the tool twice
def test_features_of_files_take_the_place_of_redis(
    local: Served, stocked: Shop, requests: Path, tmp_path: Path
) -> None:
    users = write_rows(tmp_path / "users.csv", stocked.users, SCHEMA.user.names)
    products = write_rows(tmp_path / "products.csv", stocked.products, SCHEMA.product.names)
    out = tmp_path / "answers.jsonl"
    command = [requests, "--users", users, "--products", products, "--id-column", "sku", "--out", out]
    without_redis = Shop(
        stocked.users, stocked.products, stocked.tag, stocked.environment | {"RANKER_REDIS_URL": "redis://127.0.0.1:1"}
    )
    done = run(without_redis, *command)
    assert done.stdout == b"", done.stderr
    check(local, out.read_bytes().splitlines())
    products.write_text(products.read_text().replace("\n7,", "\n7,nan,", 1).rsplit(",", 1)[0] + "\n")
    assert b"Error: " in run(without_redis, *command).stderr


def test_one_request_is_not_several(stocked: Shop, requests: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.jsonl"
    one.write_bytes(requests.read_bytes().splitlines()[0])
    assert run(stocked, one).stderr.decode().splitlines()[-1] == "1 request answered, 0 refused."


def test_no_file_that_is_read_is_written_over(stocked: Shop, requests: Path, tmp_path: Path) -> None:
    products = write_rows(tmp_path / "products.csv", stocked.products, SCHEMA.product.names)
    (tmp_path / "link").symlink_to(products)
    for out in (requests, products, tmp_path / "link"):
        before = out.read_bytes()
        done = run(stocked, requests, "--products", products, "--id-column", "sku", "--out", out)
        assert done.returncode == 2
        assert f"--out {out} is one of the files to be read. Give it another file." in done.stderr.decode()
        assert out.read_bytes() == before


def test_a_file_with_an_id_twice_is_refused_as_loading_it_is(stocked: Shop, requests: Path, tmp_path: Path) -> None:
    products = write_rows(tmp_path / "products.csv", stocked.products, SCHEMA.product.names)
    with products.open("a") as file:
        file.write(products.read_text().splitlines()[1] + "\n")
    done = run(stocked, requests, "--products", products, "--id-column", "sku")
    assert done.returncode == 1
    assert "cannot be stored: the id appeared in an earlier row." in done.stderr.decode()


def test_a_line_beyond_the_body_limit_is_refused_as_it_is_served(stocked: Shop, requests: Path) -> None:
    first, *_ = requests.read_bytes().splitlines()
    short = b'{"userId": "3", "productIds": ["1"]}'
    requests.write_bytes(b"\n".join([short, first.ljust(5000), short.ljust(1024), short.ljust(1025), short]))
    environment = stocked.environment | {"RANKER_MAX_BODY_BYTES": "1024"}
    done = run(Shop(stocked.users, stocked.products, stocked.tag, environment), requests)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer.get("error") for answer in answers] == [
        None,
        *("The request body is larger than 1024 bytes.", None) * 2,
    ]


def test_nothing_to_rank_fails(stocked: Shop, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    done = run(stocked, tmp_path / "empty.jsonl")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"0 requests answered" in done.stderr
