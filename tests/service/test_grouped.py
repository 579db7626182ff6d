"""Groups under keys of their own, served: what they hold in Redis is scored, shown, counted, logged and replayed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import helper
from playwright.sync_api import Browser, expect
from redis import Redis

from ranker.cli.features.group import features
from ranker.cli.rank import rank
from ranker.scoring.registry import find_model, is_split
from ranker.training.model import Model
from ranker.vectors.schema import FeatureSchema
from tests.service import served_log
from tests.service.conftest import Served, Shop, import_model, serve
from tests.support.chromium import NEEDS_CHROMIUM, browser, sound_page
from tests.support.groups import DATA, fill
from tests.support.models import onnx_bytes, temporary_model_store, tensor

__all__ = ["browser"]

COLUMNS = ["price", "rating", "user_live.clicks_1h", "position", "ctr_30d", "tier", "shop.open", "left", "age", "hour"]
WEIGHTS = np.array([1, 10, 100, 0.5, 1000, 3, 7, 11, 0.25, 2], np.float32)
SCHEMA = FeatureSchema.from_mapping(
    DATA
    | {
        "user": DATA["user"] | {"key": "grouped:user:{id}"},
        "product": DATA["product"] | {"key": "grouped:product:{id}"},
        "columns": COLUMNS,
    }
)
KNOWN = {
    "a": {"price": 1, "rating": 4.5, "tier": 0, "ctr_30d": 0.25, "left": 9},
    "b": {"price": 2, "rating": 0, "tier": 1, "ctr_30d": 0.5, "left": 0},
    "c": {"price": 3, "rating": 4.5, "tier": 0, "ctr_30d": 0.25, "left": 0},
}
"""What is stored for each product, and the defaults where nothing is."""


def row(product: str, **more: float) -> list[float]:
    known = {"user_live.clicks_1h": 5, "shop.open": 1, "age": 30, "position": 0, "hour": 0} | KNOWN[product] | more
    return [known[name] for name in COLUMNS]


def score(product: str, **more: float) -> float:
    return float(np.float32(row(product, **more)) @ WEIGHTS)


@pytest.fixture(scope="module")
def tag(shop: Shop) -> str:
    node = helper.make_node("MatMul", ["x", "weights"], ["scores"])
    graph = onnx_bytes(
        [node], [tensor("x", ["n", len(COLUMNS)])], [tensor("scores", ["n", 1])], {"weights": WEIGHTS[:, np.newaxis]}
    )
    return import_model(Path(shop.environment["BENTOML_HOME"]).parent, graph, SCHEMA, "grouped")


@pytest.fixture(scope="module")
def served(shop: Shop, tag: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("served")
    with Redis.from_url(redis_url) as client:
        client.flushall()
        fill(client, redis_url, SCHEMA)
    settings = {"RANKER_MODEL": tag, "RANKER_RUNNER": "local", "RANKER_FEATURE_LOG": str(home / "features")}
    with serve(shop.environment | settings | {"RANKER_FEATURE_LOG_PERCENT": "100"}, home / "log") as running:
        yield running


GROUP_FILES = {
    "user_live": ["id,clicks_1h,carts_1h", "u,5,2"],
    "seller": ["id,rating,tier", f"{1 << 40},4.5,a"],
    "affinity": ["id,ctr_30d", "u:shoes,0.25"],
    "shop": ["id,open", "main:vip,1"],
    "stock": ["id,left", "a,9"],
}
"""What `fill` writes, as files."""


def post(served: Served, path: str = "/predict", **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"requestId": "r", "userId": "u", "productIds": ["a", "b", "c"]}
    response = httpx.post(f"{served.url}{path}", json=body | more, timeout=30)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_groups_are_scored_shown_and_counted(
    served: Served, shop: Shop, tag: str, redis_url: str, tmp_path: Path
) -> None:
    for _ in range(2):  # read, then from memory
        answer = post(served, productContext={"position": [1, 2, 3]}, context={"hour": 4})
        of = dict(zip(answer["ranking"], answer["scores"], strict=True))
        expected = {p: score(p, position=i + 1, hour=4) for i, p in enumerate("abc")}
        assert of == pytest.approx(expected)
        assert answer["ranking"] == sorted(expected, key=lambda p: -expected[p])
        assert answer["missing"] == []
    elsewhere = post(served, context={"store": "other"})
    assert dict(zip(elsewhere["ranking"], elsewhere["scores"], strict=True)) == pytest.approx(
        {p: score(p, **{"shop.open": 0}) for p in "abc"}
    )

    explained = post(served, "/explain")
    assert explained["groups"]["user_live"] == {
        "source": "stored",
        "reason": None,
        "features": {"clicks_1h": 5.0, "carts_1h": 2.0},
    }
    products = {product["id"]: product for product in explained["products"]}
    assert products["a"]["groups"]["seller"]["features"] == {"rating": 4.5, "tier": "a"}
    assert products["b"]["groups"]["seller"] == {
        "source": "default",
        "reason": "missing",
        "features": {"rating": 0.0, "tier": "b"},
    }
    assert products["a"]["contributions"]["groups"]["seller"]["rating"] == pytest.approx(45)

    counted = httpx.get(f"{served.url}/metrics", timeout=30).text
    assert 'ranker_unusable_rows_total{entity="seller",reason="missing"}' in counted

    # What ranks without the service, and what checks it, know the groups, too.
    asked = {"requestId": "r", "userId": "u", "productIds": ["a", "b", "c"], "context": {"store": "other", "hour": 3}}
    of_main = asked | {"context": {"store": "main", "hour": 3}}
    (tmp_path / "requests.jsonl").write_text(f"{json.dumps(asked)}\n{json.dumps(of_main)}\n")
    (tmp_path / "users.csv").write_text("id,age,segment\nu,30,vip\n")
    lines = ["id,price,seller_id,category", f"a,1,{1 << 40},shoes", "b,2,7,hats", f"c,3,{1 << 40},shoes"]
    (tmp_path / "products.csv").write_text("\n".join(lines) + "\n")
    answered = post(served, context=asked["context"])
    answers = [answered, post(served, context=of_main["context"])]
    assert answers[0]["scores"] != answers[1]["scores"]
    files = ["--users", str(tmp_path / "users.csv"), "--products", str(tmp_path / "products.csv")]
    with temporary_model_store(Path(shop.environment["BENTOML_HOME"]) / "models"):
        runner = CliRunner(env={"RANKER_REDIS_URL": redis_url})
        ranked = runner.invoke(rank, [str(tmp_path / "requests.jsonl"), "--model", tag])
        refused = runner.invoke(rank, [str(tmp_path / "requests.jsonl"), "--model", tag, *files])
        of_groups = [argument for name in GROUP_FILES for argument in ("--group", f"{name}={tmp_path / name}.csv")]
        for name, lines in GROUP_FILES.items():
            (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
        without_redis = CliRunner(env={"RANKER_REDIS_URL": "redis://127.0.0.1:1"})
        from_files = without_redis.invoke(rank, [str(tmp_path / "requests.jsonl"), "--model", tag, *files, *of_groups])
        unknown = runner.invoke(
            rank,
            [str(tmp_path / "requests.jsonl"), "--model", tag, *of_groups, "--group", f"no={tmp_path / 'shop.csv'}"],
        )
        verified = runner.invoke(features, ["verify", "--model", tag, *files, "--service", served.url])
        offline = Model.load(tag).rank(
            {"age": 30, "segment": "vip"},
            {
                "id": ["a", "b", "c"],
                "price": [1, 2, 3],
                "seller_id": [1 << 40, 7, 7],
                "category": ["shoes", "hats", "x"],
            },
            context={"hour": 3},
            groups={
                "user_live": {"clicks_1h": 5, "carts_1h": 2},
                "seller": {"rating": [4.5, 0, 4.5], "tier": ["a", "a", "a"], "status": ["found", "missing", "found"]},
                "affinity": {"ctr_30d": [0.25, 0.5, 0.25]},
                "stock": {"left": [9, 0, 0]},
            },
        )
    assert [*map(json.loads, ranked.stdout.splitlines())] == answers
    assert refused.exit_code == 1
    assert "of which there is none for user_live, seller, affinity, shop, stock; or leave all" in refused.output
    assert [*map(json.loads, from_files.stdout.splitlines())] == answers, from_files.output
    assert unknown.exit_code == 1
    assert "The schema has no group no: its groups are user_live" in unknown.output
    assert verified.exit_code == 0, verified.output
    assert "served scores equal those computed here" in " ".join(verified.output.split())
    assert (offline.ids, offline.scores.tolist()) == (answered["ranking"], pytest.approx(answered["scores"]))


def two_towers() -> tuple[bytes, Any]:
    """A graph that is served in parts, and what it computes: a wide tower of the product's price, one of the request
    with its groups, and what is known of pairs."""
    random = np.random.default_rng(3)
    once = [COLUMNS.index(name) for name in ("age", "user_live.clicks_1h", "shop.open", "hour")]
    pair = [COLUMNS.index(name) for name in ("rating", "ctr_30d", "left", "position", "tier")]
    weights = {
        "w1": random.normal(size=(1, 512)) / 10,
        "w2": random.normal(size=(512, 512)) / 30,
        "w3": random.normal(size=(512, 8)) / 30,
        "v": random.normal(size=(len(once), 8)),
        "z": random.normal(size=(len(pair), 1)),
    }
    constants = {name: values.astype(np.float32) for name, values in weights.items()}
    constants |= {"price": np.array([0]), "once": np.array(once), "pair": np.array(pair), "axis": np.array([1])}
    nodes = [
        helper.make_node("Gather", ["x", "price"], ["p0"], axis=1),
        helper.make_node("MatMul", ["p0", "w1"], ["p1"]),
        helper.make_node("Relu", ["p1"], ["p2"]),
        helper.make_node("MatMul", ["p2", "w2"], ["p3"]),
        helper.make_node("Relu", ["p3"], ["p4"]),
        helper.make_node("MatMul", ["p4", "w3"], ["product"]),
        helper.make_node("Gather", ["x", "once"], ["r0"], axis=1),
        helper.make_node("MatMul", ["r0", "v"], ["r1"]),
        helper.make_node("Tanh", ["r1"], ["request"]),
        helper.make_node("Mul", ["product", "request"], ["both"]),
        helper.make_node("ReduceSum", ["both", "axis"], ["match"], keepdims=1),
        helper.make_node("Gather", ["x", "pair"], ["q0"], axis=1),
        helper.make_node("MatMul", ["q0", "z"], ["known"]),
        helper.make_node("Add", ["match", "known"], ["scores"]),
    ]
    graph = onnx_bytes(nodes, [tensor("x", ["n", len(COLUMNS)])], [tensor("scores", ["n", 1])], constants)

    def compute(rows: np.ndarray) -> np.ndarray:
        (scores,) = onnxruntime.InferenceSession(graph).run(None, {"x": rows.astype(np.float32)})
        return np.asarray(scores)[:, 0]

    return graph, compute


def test_model_in_parts_takes_groups_on_their_sides(
    shop: Shop, redis_url: str, redis_client: Redis, tmp_path: Path
) -> None:
    home = Path(shop.environment["BENTOML_HOME"]).parent
    graph, compute = two_towers()
    tag = import_model(home, graph, SCHEMA, "towers")
    with temporary_model_store(home / "bentoml" / "models"):
        assert is_split(find_model(tag))
    fill(redis_client, redis_url, SCHEMA)
    settings = {"RANKER_MODEL": tag, "RANKER_RUNNER": "local"}
    with serve(shop.environment | settings, tmp_path / "log") as served:
        for _ in range(2):  # read, then from memory
            answer = post(served, productContext={"position": [1, 2, 3]}, context={"hour": 4})
            of = dict(zip(answer["ranking"], answer["scores"], strict=True))
            rows = [row(p, position=i + 1, hour=4) for i, p in enumerate("abc")]
            assert [of[p] for p in "abc"] == pytest.approx(compute(np.array(rows)).tolist(), rel=1e-4)


@NEEDS_CHROMIUM
def test_playground_shows_what_groups_hold(browser: Browser, served: Served) -> None:
    with sound_page(browser) as page:
        page.goto(f"{served.url}/play")
        expect(page.locator("#ranking li").first).to_be_visible()
        shown = page.locator("#features")
        expect(shown.get_by_role("heading", name="user_live", exact=True)).to_be_visible()
        expect(shown.get_by_role("heading", name=re.compile(r"^seller, for "))).to_be_visible()
        row = shown.get_by_role("row").filter(has_text="clicks_1h")
        expect(row).to_contain_text("500")
        assert row.locator("input").count() == 0


def test_change_of_a_groups_key_is_seen_at_once(served: Served, redis_url: str) -> None:
    def left_of_a() -> float:
        answer = post(served)
        scores = dict(zip(answer["ranking"], answer["scores"], strict=True))
        return round((scores["a"] - score("a", left=0)) / 11)

    assert left_of_a() == 9
    with Redis.from_url(redis_url) as client:
        client.hset("stock:a", "left", "4")
    deadline = time.monotonic() + 10
    while left_of_a() != 4:
        assert time.monotonic() < deadline


def test_rows_of_groups_replay_once_the_service_has_ended(served: Served, shop: Shop) -> None:
    post(served)
    served.process.terminate()
    served.process.wait(30)
    replayed = served_log.replay(shop, served.log.parent / "features")
    assert replayed.exit_code == 0, replayed.output
