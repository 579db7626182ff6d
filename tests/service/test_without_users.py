"""A model without user features, served: anybody and nobody get the same answer, and no key of a user is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from redis import Redis

from ranker.vectors.schema import FeatureSchema
from tests.service.conftest import environment, import_model, serve
from tests.support.models import mlp_onnx, mlp_scores

SCHEMA = FeatureSchema.from_mapping({"product": {"features": ["price", "stock"]}, "context": {"features": ["hour"]}})
PRODUCTS = {"a": (1.0, 2.0), "b": (0.5, -1.0), "c": (3.0, 0.25)}


def ranker(home: Path, env: dict[str, str], *arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "ranker", *arguments]
    done = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def loaded(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder whose model is imported and whose products are loaded, and the environment of its commands."""
    home = tmp_path_factory.mktemp("home")
    with Redis.from_url(redis_url) as client:
        client.flushall()
    tag = import_model(home, mlp_onnx(3), SCHEMA, "trends")
    env = environment(home, RANKER_REDIS_URL=redis_url, RANKER_MODEL=tag)
    rows = "\n".join(f"{name},{price},{stock}" for name, (price, stock) in PRODUCTS.items())
    (home / "products.csv").write_text(f"id,price,stock\n{rows}\n")
    ranker(home, env, "features", "load", "products.csv", "--entity", "product", "--model", tag)
    return home, env


def test_model_without_user_features_is_looked_after(loaded: tuple[Path, dict[str, str]]) -> None:
    home, env = loaded
    model = ("--model", env["RANKER_MODEL"])
    refused = ranker(home, env, "features", "load", "products.csv", "--entity", "user", *model, code=1)
    assert "The schema has no `user:`, so there is nothing to store of users." in refused
    looked = ranker(home, env, "doctor")
    assert "user features" not in looked
    verified = ranker(home, env, "features", "verify", *model)
    assert "product vectors: 3 looked at, all usable" in verified
    assert "user" not in verified


@pytest.mark.parametrize("settings", [{"RANKER_CACHE_MB": "8"}, {"RANKER_CACHE_MB": "0", "RANKER_RUNNER": "local"}])
def test_no_key_of_a_user_is_read_for_a_model_without_user_features(
    settings: dict[str, str], loaded: tuple[Path, dict[str, str]], redis_url: str, tmp_path: Path
) -> None:
    expected = dict(zip(PRODUCTS, mlp_scores(np.array([[*row, 5.0] for row in PRODUCTS.values()])), strict=True))
    with serve(loaded[1] | settings, tmp_path / "log") as served, Redis.from_url(redis_url) as redis_client:
        asked = int(redis_client.info("stats")["keyspace_misses"])

        def post(path: str, **body: Any) -> dict[str, Any]:
            sent = {"requestId": "r", "productIds": list(PRODUCTS), "context": {"hour": 5}} | body
            response = httpx.post(served.url + path, json=sent, timeout=30)
            assert response.status_code == 200, response.text
            answer: dict[str, Any] = response.json()
            return answer

        answers = [post("/predict", **user) for user in ({}, {"userId": None}, {"userId": "u"}) for _ in range(2)]
        assert all(answer == answers[0] for answer in answers)
        assert (answers[0]["missingUser"], answers[0]["degraded"], answers[0]["missing"]) == (False, False, [])
        assert dict(zip(answers[0]["ranking"], answers[0]["scores"], strict=True)) == pytest.approx(expected, abs=1e-5)
        explained = post("/explain", userId="u")
        assert explained["user"] == {"id": "u", "source": "default", "reason": "no_user_features", "features": {}}
        assert explained["products"][0]["contributions"]["user"] == {}
        assert int(redis_client.info("stats")["keyspace_misses"]) == asked
        nothing = post("/predict", userId="u", productIds=["x"])
        assert (nothing["degradedReason"], nothing["missingUser"]) == ("no_features", False)
