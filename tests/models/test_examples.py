"""The models of examples/models are served as their own frameworks score them: trained, exported, imported, ranked."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from redis import Redis

from tests.service.conftest import PROJECT, environment
from tests.service.test_serve_cli import printed_request, serving

EXAMPLES = PROJECT / "examples" / "models"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))
LARGEST_DIFFERENCE = 1e-5
PAIRS = 200


def run(folder: Path, env: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the example's folder."""
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, timeout=100, check=False
    )


def ranker(folder: Path, env: dict[str, str], *arguments: str) -> str:
    """Run the command line; return what it prints."""
    done = run(folder, env, "-m", "ranker", *arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def train(name: str, folder: Path, env: dict[str, str]) -> pd.DataFrame:
    """Train an example into a folder and return its rows; skip it where PyTorch is lacking, which nothing locks."""
    if name.startswith("torch_") and importlib.util.find_spec("torch") is None:  # imported by the example alone
        pytest.skip("PyTorch is not installed: .venv/bin/pip install torch")
    done = run(folder, env, str(EXAMPLES / f"{name}.py"), ".")
    assert done.returncode == 0, done.stderr
    return pd.read_parquet(folder / "rows.parquet")


def importing(name: str, graph: str = "model.onnx", schema: Path | None = None) -> list[str]:
    """Return what an example's user types to import it."""
    check = ["--check", "rows.parquet", "--score-column", "prediction", "--list-column", "list", "--tolerance", "1e-5"]
    return ["model", "import", graph, "--schema", str(schema or EXAMPLES / f"{name}.yaml"), "--name", name, *check]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", NAMES)
def test_example_is_served_as_its_framework_scores_it(
    name: str, redis_client: Redis, redis_url: str, tmp_path: Path
) -> None:
    env = environment(tmp_path, RANKER_REDIS_URL=redis_url)
    rows = train(name, tmp_path, env)
    assert len(rows) == PAIRS
    assert rows.prediction.nunique() > PAIRS / 2

    imported = json.loads(ranker(tmp_path, env, *importing(name), "--json"))
    assert imported["compared"].startswith(f"{PAIRS} rows, largest difference ")
    assert not imported["warnings"]
    for entity in ("user", "product"):
        ranker(tmp_path, env, "features", "load", f"{entity}s.parquet", "--model", name, "--entity", entity)

    largest = 0.0
    with serving(env, tmp_path, tmp_path / "log", "--model", name, "--workers", "1") as served:
        url = printed_request(served.printed)[0]
        for _, shown in rows.groupby("list"):
            body = {"userId": shown.user_id.iloc[0], "productIds": shown.product_id.tolist()}
            answer = httpx.post(url, json=body, timeout=30).raise_for_status().json()
            assert not answer["degraded"], answer
            assert answer["missing"] == []
            own = shown.set_index("product_id").prediction
            assert answer["ranking"] == own.sort_values(ascending=False, kind="stable").index.tolist()
            largest = max(largest, float(np.abs(own[answer["ranking"]].to_numpy() - answer["scores"]).max()))
    print(f"{name}: import {imported['compared']}; served, largest difference {largest:.2g}")
    assert largest <= LARGEST_DIFFERENCE


def test_booster_of_a_ranker_that_became_a_classifier_is_refused(tmp_path: Path) -> None:
    env = environment(tmp_path)
    train("xgboost_ranker", tmp_path, env)
    done = run(tmp_path, env, "-m", "ranker", *importing("xgboost_ranker", "booster.onnx"))
    assert done.returncode == 1
    assert "The graph scores otherwise than its trainer: 200 rows, largest difference " in done.stderr


def test_order_of_the_training_frame_is_found_and_its_line_works(tmp_path: Path) -> None:
    env = environment(tmp_path)
    rows = train("lightgbm_ranker", tmp_path, env)
    columns = (EXAMPLES / "lightgbm_ranker.yaml").read_text()
    schema = tmp_path / "schema.yaml"
    schema.write_text(columns[: columns.index("columns:")])
    ordered = rows[["age", "brand", "on_sale", "price", "rating", "segment", "spend", "stock", "prediction", "list"]]
    ordered.to_parquet(tmp_path / "rows.parquet")
    done = run(tmp_path, env, "-m", "ranker", *importing("lightgbm_ranker", schema=schema))
    assert done.returncode == 1
    (line,) = re.findall(r"say `(columns: \[.*?\])` in the schema", done.stderr)
    schema.write_text(schema.read_text() + line + "\n")
    assert "rank correlation 1" in ranker(tmp_path, env, *importing("lightgbm_ranker", schema=schema))
