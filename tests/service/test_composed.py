"""Services that depend on Ranker: in one deployment, and at another's URL; the examples' own."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.service.conftest import PROJECT, Served, Shop, serve

EXAMPLE = PROJECT / "examples" / "compose-bentoml"
TOKEN = "a-token-for-strangers"
PICKLED = {"content-type": "application/vnd.bentoml+pickle"}
ASKED = {"requestId": "r", "userId": "5", "productIds": ["1", "2", "3"]}
SHOP = """
import bentoml
from ranker.service import Ranker

@bentoml.service(name="own")
class Own:
    ranker = bentoml.depends(Ranker)

    @bentoml.api
    async def ask(self, what: str, request: dict) -> dict:
        answer = await getattr(self.ranker.to_async, what)(**request)
        return answer.model_dump()
"""


@pytest.fixture(scope="module", params=[{}, {"RANKER_API_TOKEN": TOKEN, "RANKER_RUNNER": "local"}])
def own(request: pytest.FixtureRequest, stocked: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that hands on what it is asked and told; with a token that it does not know, too."""
    home = tmp_path_factory.mktemp("own")
    (home / "own.py").write_text(SHOP)
    env = stocked.environment | request.param | {"PYTHONPATH": f"{home}:{PROJECT}"}
    with serve(env, home / "log", target="own:Own", cwd=home) as running:
        yield running


def ask(own: Served, what: str = "predict", **changed: Any) -> httpx.Response:
    return httpx.post(f"{own.url}/ask", json={"what": what, "request": ASKED | changed}, timeout=20)


def best_first(shop: Shop, ids: list[str], user: str = "5") -> list[str]:
    return [product for _, product in sorted(zip(shop.scores(user, ids), ids, strict=True), reverse=True)]


def test_dependency_ranks_and_explains(own: Served, stocked: Shop) -> None:
    ids = [str(i) for i in range(100)]
    told = ask(own, productIds=ids).json()
    assert told["ranking"] == best_first(stocked, ids)
    assert (told["requestId"], told["degraded"], told["degradedReason"]) == ("r", False, None)
    explained = ask(own, "explain").json()
    assert [product["id"] for product in explained["products"]] == best_first(stocked, ASKED["productIds"])
    assert set(explained["products"][0]["contributions"]) == {"user", "product", "context", "productContext", "groups"}


def test_dependency_refuses_in_its_own_words(own: Served) -> None:
    refused = ask(own, productIds=["1", "1"])
    assert refused.status_code == 400
    assert "productIds must not repeat an id" in refused.text


def test_dependency_has_no_port_and_its_metrics_are_the_services(own: Served) -> None:
    workers = psutil.Process(own.process.pid).children(recursive=True)  # the supervisor has ports of its own
    listening = [c for worker in workers for c in worker.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    ports = {connection.laddr.port for connection in listening}
    assert ports == {httpx.URL(own.url).port}
    assert httpx.post(f"{own.url}/predict", json=ASKED).status_code == 404
    assert 'ranker_requests_total{outcome="ok"}' in httpx.get(f"{own.url}/metrics").text


def test_pickle_from_a_network_is_refused(local: Served) -> None:
    refused = httpx.post(f"{local.url}/predict", content=pickle.dumps(ASKED), headers=PICKLED)
    assert (refused.status_code, refused.json()["error_type"]) == (415, "unsupported_type")


def test_example_ranks_in_one_deployment(stocked: Shop, tmp_path: Path) -> None:
    env = stocked.environment | {"RANKER_RUNNER": "local", "PYTHONPATH": f"{EXAMPLE}:{PROJECT}"}
    ids = [str(i) for i in range(10)]
    with serve(env, tmp_path / "log", target="shop:Shop", cwd=EXAMPLE) as shop:
        assert httpx.post(f"{shop.url}/page", json={"user": "5"}).json() == best_first(stocked, ids)[:5]
        assert httpx.post(f"{shop.url}/page", json={"user": "5", "category": "hats"}).json() == []


def test_example_ranks_at_another_services_url(local: Served, stocked: Shop, tmp_path: Path) -> None:
    env = {key: value for key, value in stocked.environment.items() if not key.startswith("RANKER_")}
    with serve(env | {"RANKER_URL": local.url}, tmp_path / "log", target="remote:RemoteShop", cwd=EXAMPLE) as shop:
        answer = httpx.post(f"{shop.url}/page", json={"user": "5", "products": ["1", "2", "3"]})
        assert answer.json() == best_first(stocked, ["1", "2", "3"])
