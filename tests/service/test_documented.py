"""OpenAPI as others use it: clients made of it, and Swagger UI, against a served model with a token."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.service.conftest import Served, Shop, serve

TOKEN = "a-token-for-clients"
BEARER = {"authorization": f"Bearer {TOKEN}"}
IDS = ["3", "1", "2", "nobody-has-this"]
TYPESCRIPT = Path(__file__).parent.parent / "support" / "typescript"


@pytest.fixture(scope="module")
def documented(stocked: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("documented") / "log"
    with serve(stocked.environment | {"RANKER_RUNNER": "local", "RANKER_API_TOKEN": TOKEN}, log) as running:
        yield running


@pytest.fixture(scope="module")
def document(documented: Served) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{documented.url}/docs.json", headers=BEARER).json()
    return answer


@pytest.fixture(scope="module")
def client(document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The package that openapi-python-client makes of the document."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "openapi.json").write_text(json.dumps(document))
    command = [str(Path(sys.executable).with_name("openapi-python-client")), "generate"]
    command += ["--path", "openapi.json", "--meta", "none", "--output-path", "ranker_client"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # it runs ruff
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield importlib.import_module("ranker_client")
    sys.path.remove(str(folder))


def ranked(shop: Shop, ids: list[str]) -> list[str]:
    """Rank offline for user 5 what the clients ask for."""
    return [product for _, product in sorted(zip(shop.scores("5", ids), ids, strict=True), reverse=True)]


def test_served_document_is_valid(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_generated_python_client_ranks_and_explains(client: ModuleType, documented: Served, stocked: Shop) -> None:
    models = importlib.import_module("ranker_client.models")
    predict, explain = (importlib.import_module(f"ranker_client.api.ranking.{name}") for name in ("predict", "explain"))
    with client.AuthenticatedClient(documented.url, TOKEN) as asking:
        request = models.PredictRequest(user_id="5", product_ids=IDS, request_id="r")
        answer = predict.sync(client=asking, body=request)
        assert isinstance(answer, models.PredictResponse)
        assert answer.ranking == ranked(stocked, IDS)
        assert answer.missing == ["nobody-has-this"]
        assert (answer.degraded, answer.degraded_reason, answer.request_id) == (False, None, "r")

        explained = explain.sync(client=asking, body=models.ExplainRequest(user_id="5", product_ids=IDS))
        assert isinstance(explained, models.Explanation)
        assert [product.id for product in explained.products] == answer.ranking
        assert explained.limited_by is None  # of a complete answer
        assert explained.products[0].contributions is not None

        refused = predict.sync(client=asking, body=models.PredictRequest(user_id="5", product_ids=["1", "1"]))
        assert isinstance(refused, models.Error)
        assert refused.error_type == "duplicate_products"
    with client.Client(documented.url) as stranger:
        refused = predict.sync(client=stranger, body=request)
        assert isinstance(refused, models.Error)
        assert refused.error_type == "unauthorized"


def test_swagger_page_is_open_and_its_document_is_not(documented: Served) -> None:
    page = httpx.get(documented.url)
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for asset in ("swagger-ui.css", "swagger-ui-bundle.js"):
        assert httpx.get(f"{documented.url}/static_content/{asset}").status_code == 200
    assert httpx.get(f"{documented.url}/docs.json").status_code == 401


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no Node.js here")
def test_generated_typescript_client_ranks_and_explains(
    document: dict[str, Any], documented: Served, stocked: Shop, tmp_path: Path
) -> None:
    shutil.copytree(TYPESCRIPT, tmp_path, dirs_exist_ok=True)
    (tmp_path / "openapi.json").write_text(json.dumps(document))

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("npm", "ci", "--prefer-offline", "--no-audit", "--no-fund")
    run("npx", "openapi-typescript", "openapi.json", "--output", "schema.d.ts")
    run("npx", "tsc")
    told = json.loads(run("node", "client.js", documented.url, TOKEN))
    ids = ["3", "1", "2"]
    assert told["ranking"] == [
        product for _, product in sorted(zip(stocked.scores("5", ids), ids, strict=True), reverse=True)
    ]
    assert (told["score"], told["limit"]) == (pytest.approx(max(stocked.scores("5", ids)), rel=1e-4), None)
    assert told["refused"] == "duplicate_products"
