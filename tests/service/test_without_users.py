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


@pytest.mark.parametrize("cache_mb", ["8", "0"])
def test_model_without_user_features_is_served_and_looked_after(
    cache_mb: str, redis_client: Redis, redis_url: str, tmp_path: Path
) -> None:
    redis_client.flushall()
    tag = import_model(tmp_path, mlp_onnx(3), SCHEMA, "trends")
    env = environment(tmp_path, RANKER_REDIS_URL=redis_url, RANKER_MODEL=tag, RANKER_CACHE_MB=cache_mb)
    rows = "\n".join(f"{name},{price},{stock}" for name, (price, stock) in PRODUCTS.items())
    (tmp_path / "products.csv").write_text(f"id,price,stock\n{rows}\n")
    ranker(tmp_path, env, "features", "load", "products.csv", "--entity", "product", "--model", tag)
    refused = ranker(tmp_path, env, "features", "load", "products.csv", "--entity", "user", "--model", tag, code=1)
    assert "The schema has no `user:`, so there is nothing to store of users." in refused

    expected = dict(zip(PRODUCTS, mlp_scores(np.array([[*row, 5.0] for row in PRODUCTS.values()])), strict=True))
    with serve(env, tmp_path / "log") as served:
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
    looked = ranker(tmp_path, env, "doctor")
    assert "user features" not in looked
    verified = ranker(tmp_path, env, "features", "verify", "--model", tag)
    assert "product vectors: 3 looked at, all usable" in verified
    assert "user" not in verified
