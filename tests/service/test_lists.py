"""A model whose rows go together, served: each list is one call, however long, in any process that scores."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bentoml
import httpx
import numpy as np
import pytest
from _bentoml_impl.client import RemoteProxy

from ranker.scoring.model import OnnxModel
from ranker.vectors.schema import FeatureSchema
from tests.service.conftest import ONNX, SCHEMA, Served, Shop, import_model, import_service, serve
from tests.service.test_lifecycle import ask
from tests.service.test_rollout import runner_url
from tests.support.models import temporary_model_store
from tests.support.sample import run

LISTS = FeatureSchema.from_mapping(SCHEMA.to_metadata() | {"rows": "together"})
IDS = [str(i) for i in range(30)]
MOST_ROWS = 8
"""Of a call, where rows may be cut."""


@pytest.fixture(scope="module")
def tag(stocked: Shop) -> str:
    return import_model(Path(stocked.environment["BENTOML_HOME"]).parent, ONNX, LISTS, "lists")


@pytest.fixture(params=["service", "local"])
def served(request: pytest.FixtureRequest, stocked: Shop, tag: str, tmp_path: Path) -> Iterator[Served]:
    settings = {"RANKER_MODEL": tag, "RANKER_RUNNER": request.param, "RANKER_MAX_BATCH_ROWS": str(MOST_ROWS)}
    with serve(stocked.environment | settings, tmp_path / "log") as running:
        yield running


def test_each_list_is_one_call_of_its_own(served: Served) -> None:
    counts = "ranker_merged_requests_count", "ranker_merged_rows_sum"
    before = [of_model(served, name) for name in counts]
    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda _: ask(served.url, productIds=IDS).json(), range(12)))
    calls, rows = (of_model(served, name) - old for name, old in zip(counts, before, strict=True))
    assert all(answer["degradedReason"] is None for answer in answers)
    assert (calls, rows) == (12, 12 * len(IDS))


def of_model(served: Served, name: str) -> float:
    """Return what is counted of the calls of the model."""
    lines = httpx.get(f"{served.url}/metrics", timeout=10).text.splitlines()
    return float(next((line.split()[-1] for line in lines if line.startswith(f'{name}{{hop="score"}}')), 0))


@pytest.mark.parametrize("served", ["service"], indirect=True)
def test_bentoml_merges_no_lists(served: Served, stocked: Shop, tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKER_MODEL", tag)
    with temporary_model_store(Path(stocked.environment["BENTOML_HOME"]) / "models"):
        service = import_service()
        service.Runner.inject_config()
        assert bentoml.models.get(tag).tag == bentoml.Tag.from_str(tag)
    assert not service.Runner.apis["score"].batchable

    async def test() -> None:
        proxy: RemoteProxy[object] = RemoteProxy(runner_url(served), service=service.Runner)
        async with proxy.to_async as runner:
            matrix = np.random.default_rng(1).normal(size=(MOST_ROWS + 3, SCHEMA.width)).astype(np.float32)
            scores = await runner.call("score", matrix)
            assert scores == pytest.approx(OnnxModel(ONNX, SCHEMA).score(matrix), abs=1e-6)

    run(test, seconds=60)
