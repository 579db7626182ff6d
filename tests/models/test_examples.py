"""The models of examples/models are served as their own frameworks score them: trained, exported, imported, ranked."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
import yaml
from redis import Redis

from tests.service.conftest import PROJECT, environment
from tests.service.test_serve_cli import printed_request, serving
from tests.support.suggested import Answers, Feature, answer

EXAMPLES = PROJECT / "examples" / "models"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))
LARGEST_DIFFERENCE = 1e-5
PAIRS = 200
BRANDS = {"name": "brand", "type": "category", "vocabulary": ["acme", "globex", "initech", "umbrella", "wonka"]}
SEGMENTS = {"name": "segment", "type": "category", "vocabulary": ["new", "regular", "vip"]}


def named(user: Sequence[Feature], product: Sequence[Feature], order: str = "") -> Answers:
    """What the columns of a matrix are, in the order of training: of the user and then the product, or as listed."""
    groups = {str(f["name"]) if isinstance(f, dict) else f: ("user", f) for f in user}
    groups |= {str(f["name"]) if isinstance(f, dict) else f: ("product", f) for f in product}
    columns = order.split() or list(groups)
    return {f"feature_{i}": (groups[name][0], [groups[name][1]]) for i, name in enumerate(columns)}


ANSWERS: dict[str, tuple[Answers, dict[str, str]]] = {
    "catboost_classifier": (named(["age", "spend", "visits"], ["price", "stock", "rating"]), {}),
    "lightgbm_ranker": (
        named(
            ["age", "spend", SEGMENTS],
            ["price", "stock", "rating", BRANDS, {"name": "on_sale", "type": "bool"}],
            "age brand on_sale price rating segment spend stock",
        ),
        {},
    ),
    "sklearn_columns": (
        {
            "spend": ("user", ["spend"]),
            "visits": ("user", [{"name": "visits", "type": "int64"}]),
            "city": (
                "user",
                [{"name": "city", "type": "category", "vocabulary": ["Berlin", "Köln", "München", "Wien"]}],
            ),
        },
        {},
    ),
    "torch_din": ({}, {}),
    "torch_dlrm": (
        {
            "dense": ("product", [f"d{i}" for i in range(13)]),
            **{
                f"sparse_{i}": ("user" if i < 4 else "product", [f"{name}_no"])
                for i, name in enumerate(["user", "city", "segment", "device", "item", "brand", "shelf", "seller"])
            },
        },
        {},
    ),
    "torch_mmoe": (
        named(["age", "spend", "visits"], ["price", "stock", "rating", "on_sale"]),
        {"missing": "default", "score": "ctr * cvr ** 0.5 * log1p(price)"},
    ),
    "torch_rechub_deepfm": ({"spend": ("user", ["spend"]), "visits": ("user", ["visits"])}, {}),
    "torch_slate": (named(["spend", "visits"], ["price", "stock", "on_sale"]), {}),
    "torch_two_tower": (
        {
            "user": ("user", ["age", "spend", "visits"]),
            "product": ("product", ["price", "stock", "rating", {"name": "on_sale", "type": "bool"}]),
        },
        {"missing": "default"},
    ),
    "xgboost_ranker": (named(["age", "spend", "visits"], ["price", "stock", "rating"]), {}),
}
"""For each example, how its owner answers the questions of `ranker model suggest`."""


def run(folder: Path, env: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the example's folder."""
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )


def ranker(folder: Path, env: dict[str, str], *arguments: str) -> str:
    """Run the command line; return what it prints."""
    done = run(folder, env, "-m", "ranker", *arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def train(name: str, folder: Path) -> Path:
    """Train an example into a folder, once; skip it where PyTorch is lacking, which nothing locks."""
    if name.startswith("torch_") and importlib.util.find_spec("torch") is None:  # imported by the example alone
        pytest.skip("PyTorch is not installed: .venv/bin/pip install torch")
    if not (folder / "rows.parquet").exists():
        folder.mkdir(exist_ok=True)
        done = run(folder, environment(folder), str(EXAMPLES / f"{name}.py"), ".")
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of an example's files."""
    base = tmp_path_factory.mktemp("trained")
    return lambda name: train(name, base / name)


def importing(name: str, graph: str = "model.onnx", schema: Path | None = None) -> list[str]:
    """Return what an example's user types to import it."""
    check = ["--check", "rows.parquet", "--score-column", "prediction", "--list-column", "list", "--tolerance", "1e-5"]
    return ["model", "import", graph, "--schema", str(schema or EXAMPLES / f"{name}.yaml"), "--name", name, *check]


@pytest.mark.timeout(600)  # frameworks train and export on however little CPU there is
@pytest.mark.parametrize("name", NAMES)
def test_example_is_served_as_its_framework_scores_it(
    name: str, trained: Callable[[str], Path], redis_client: Redis, redis_url: str, tmp_path: Path
) -> None:
    env, folder = environment(tmp_path, RANKER_REDIS_URL=redis_url), trained(name)
    rows = pd.read_parquet(folder / "rows.parquet")
    assert len(rows) == PAIRS
    assert rows.prediction.nunique() > PAIRS / 2

    imported = json.loads(ranker(folder, env, *importing(name), "--json"))
    assert imported["compared"].startswith(f"{PAIRS} rows, largest difference ")
    assert not imported["warnings"]
    for entity in ("user", "product"):
        ranker(folder, env, "features", "load", f"{entity}s.parquet", "--model", name, "--entity", entity)

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


@pytest.mark.timeout(600)  # frameworks train and export on however little CPU there is
@pytest.mark.parametrize("name", NAMES)
def test_suggested_schema_with_its_questions_answered_scores_as_the_framework_does(
    name: str, trained: Callable[[str], Path], tmp_path: Path
) -> None:
    env, folder, schema = environment(tmp_path), trained(name), tmp_path / "schema.yaml"
    ranker(folder, env, "model", "suggest", "model.onnx", "--output", str(schema))
    features, keys = ANSWERS[name]
    schema.write_text(yaml.safe_dump(answer(schema.read_text(), features, **keys), sort_keys=False))
    imported = json.loads(ranker(folder, env, *importing(name, schema=schema), "--json"))
    assert imported["compared"].startswith(f"{PAIRS} rows, largest difference ")
    assert not imported["warnings"]


def test_booster_of_a_ranker_that_became_a_classifier_is_refused(
    trained: Callable[[str], Path], tmp_path: Path
) -> None:
    env = environment(tmp_path)
    done = run(trained("xgboost_ranker"), env, "-m", "ranker", *importing("xgboost_ranker", "booster.onnx"))
    assert done.returncode == 1
    assert "The graph scores otherwise than its trainer: 200 rows, largest difference " in done.stderr


def test_order_of_the_training_frame_is_found_and_its_line_works(
    trained: Callable[[str], Path], tmp_path: Path
) -> None:
    env, folder = environment(tmp_path), trained("lightgbm_ranker")
    (tmp_path / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    rows = pd.read_parquet(folder / "rows.parquet")
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
