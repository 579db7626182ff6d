"""What a test asks of a service that keeps a feature log, and what that log must be once the service is gone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

from ranker.cli.log import log
from tests.service.conftest import Shop
from tests.support.models import temporary_model_store

REQUESTS: list[dict[str, Any]] = [
    *({"userId": str(i % 25), "productIds": [str((7 * i + j) % 410) for j in range(40)]} for i in range(40)),
    {"userId": "3", "productIds": ["5"]},
    {"userId": "3", "productIds": [str(i) for i in range(390)], "topK": 7},  # scored in two calls
    {"userId": None, "productIds": ["1", "5", "2"]},
    {"userId": "nobody", "productIds": ["1", "no", "2", "neither"]},
]
for i, request in enumerate(REQUESTS):
    request["requestId"] = f"r{i}"


def settings(folder: Path) -> dict[str, str]:
    """Have everything logged there."""
    return {
        "RANKER_FEATURE_LOG": str(folder),
        "RANKER_FEATURE_LOG_PERCENT": "100",
        "RANKER_MISSING_PRODUCT": "last",
    }


def ask(url: str) -> list[httpx.Response]:
    """Send all requests, some at the same time, so that calls of the model are merged."""
    with httpx.Client(timeout=30) as http, ThreadPoolExecutor(8) as threads:
        return list(threads.map(lambda body: http.post(f"{url}/predict", json=body), REQUESTS))


def check_kept(shop: Shop, folder: Path, responses: list[httpx.Response]) -> None:
    """Compare the log with the answers."""
    (path,) = folder.iterdir()
    kept = {row["request_id"]: row for row in parquet.read_table(path).to_pylist()}
    assert len(kept) == len(REQUESTS)
    for request, response in zip(REQUESTS, responses, strict=True):
        answer, row = response.json(), kept[request["requestId"]]
        assert response.status_code == 200
        assert row["model"] == response.headers["x-ranker-model"]
        assert row["product_ids"] == request["productIds"]
        assert row["ranking"] == answer["ranking"]
        scores = dict(zip(row["product_ids"], row["scores"], strict=True))
        assert [scores[product] for product in row["ranking"]] == pytest.approx(answer["scores"], rel=1e-6)
        statuses = zip(row["product_ids"], row["product_statuses"], strict=True)
        assert [product for product, status in statuses if status != "found"] == answer["missing"]
        stages = dict(part.strip().split(";dur=") for part in response.headers["server-timing"].split(","))
        assert row["total_ms"] == pytest.approx(float(stages["total"]), rel=1e-4, abs=1e-3)
    of_nobody = kept[REQUESTS[-2]["requestId"]]
    assert (of_nobody["user_id"], of_nobody["user_status"]) == (None, "found")
    assert kept[REQUESTS[-1]["requestId"]]["user_status"] == "missing"
    assert np.array(kept["r0"]["user_features"], np.float32).tobytes() == shop.users[0].tobytes()


def check_replay(shop: Shop, folder: Path) -> None:
    """Rank the log again; then with one feature changed."""
    done = replay(shop, folder)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"All {len(REQUESTS)} requests replay bit for bit."
    (path,) = folder.iterdir()
    table = parquet.read_table(path)
    rows = table.to_pylist()
    rows[0]["product_features"][0] += 0.125
    parquet.write_table(pa.Table.from_pylist(rows, table.schema), path)
    done = replay(shop, path)
    assert done.exit_code == 1
    assert f"1 of {len(REQUESTS)} requests do not replay; the first:" in done.stdout
    request, user, product = rows[0]["request_id"], rows[0]["user_id"], rows[0]["product_ids"][0]
    assert f"request {request!r} of user {user!r}: product {product!r} scored" in done.stdout


def replay(shop: Shop, source: Path) -> Result:
    with temporary_model_store(Path(shop.environment["BENTOML_HOME"]) / "models"):
        return CliRunner().invoke(log, ["replay", str(source)])
