"""One schema with every type and a keyed group, through every tool: what was loaded is what each of them knows."""

from __future__ import annotations

import decimal
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper
from playwright.sync_api import Browser, expect
from pyarrow import parquet
from redis import Redis

from ranker import FeatureWriter
from ranker.cli import main
from ranker.vectors.schema import FeatureSchema
from tests.service.conftest import Served, Shop, import_model, serve
from tests.support.chromium import NEEDS_CHROMIUM, browser, sound_page
from tests.support.models import onnx_bytes, temporary_model_store, tensor

__all__ = ["browser"]

BRANDS = ["nike", "puma", "asics"]
BIG = (1 << 53) + 1
"""An id that neither float32 nor a double holds."""
SCHEMA = FeatureSchema.from_mapping(
    {
        "user": {
            "key": "every:user:{id}",
            "features": ["age", {"name": "taste", "shape": [12]}, {"name": "viewed", "type": "product", "length": 4}],
        },
        "product": {
            "key": "every:product:{id}",
            "features": [
                {"name": "price", "missing": "nan"},
                {"name": "item_id", "type": "int64"},
                {"name": "brand", "type": "category", "vocabulary": BRANDS},
                {"name": "image", "shape": [12]},
                {"name": "on_sale", "type": "bool"},
                {"name": "sku", "type": "text", "length": 8},
            ],
        },
        "context": {"features": ["hour", {"name": "store", "type": "text", "length": 8, "default": "main"}]},
        "groups": {
            "seller": {
                "per": "product",
                "key": "every:seller:{context.store}:{product.sku}",
                "features": [
                    "rating",
                    {"name": "tier", "type": "category", "vocabulary": ["a", "b"]},
                    {"name": "style", "shape": [12]},
                ],
            }
        },
    }
)
RANDOM = np.random.default_rng(11)
N = 12


def draw(size: int) -> list[float]:
    return [float(value) for value in np.float32(RANDOM.normal(size=size)).round(3)]


PRODUCTS: list[dict[str, Any]] = [
    {
        "price": None if i == 3 else 1.5 + i,
        "item_id": BIG + i,
        "brand": BRANDS[i % 3],
        "image": draw(12),
        "on_sale": i % 2 == 0,
        "sku": f"k{i}é",
    }
    for i in range(N)
]
USERS: list[dict[str, Any]] = [{"age": 30.0 + i, "taste": draw(12), "viewed": [BIG, 7][: 2 - i]} for i in range(2)]
SELLERS: list[dict[str, Any]] = [{"rating": 4.0 + i / 8, "tier": "ab"[i % 2], "style": draw(12)} for i in range(N - 1)]
"""Of all products but the last."""


def graph() -> bytes:
    """Score: user · image + user · style + price, rating, age, hour, on_sale, brand, and ids by their last digits."""
    nodes = [
        helper.make_node("Mul", ["taste", "image"], ["images"]),
        helper.make_node("ReduceSum", ["images", "axis"], ["similar"], keepdims=1),
        helper.make_node("Mul", ["taste", "style"], ["styles"]),
        helper.make_node("ReduceSum", ["styles", "axis"], ["alike"], keepdims=1),
        helper.make_node("IsNaN", ["price"], ["lacks"]),
        helper.make_node("Where", ["lacks", "ten", "price"], ["cost"]),
        helper.make_node("LabelEncoder", ["brand"], ["code"], domain="ai.onnx.ml", keys_strings=BRANDS,
                         values_floats=[0.0, 1.0, 2.0]),
        helper.make_node("Cast", ["on_sale"], ["sale"], to=TensorProto.FLOAT),
        helper.make_node("Mod", ["item_id", "seven"], ["rest_"]),
        helper.make_node("Cast", ["rest_"], ["rest"], to=TensorProto.FLOAT),
        helper.make_node("Mod", ["viewed", "seven"], ["seen_"]),
        helper.make_node("Cast", ["seen_"], ["seen"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["seen", "axis"], ["history"], keepdims=1),
        helper.make_node("Cast", ["tier"], ["level"], to=TensorProto.FLOAT),
        helper.make_node("Sum", ["similar", "alike", "cost", "code", "sale", "rest", "history", "level", "rating",
                                 "age", "hour"], ["scores"]),
    ]  # fmt: skip
    whole = TensorProto.INT64
    inputs = [
        *(tensor(name, ["n", 12]) for name in ("taste", "image", "style")),
        *(tensor(name, ["n", 1]) for name in ("age", "price", "rating", "hour")),
        tensor("viewed", ["n", 4], whole),
        tensor("item_id", ["n", 1], whole),
        tensor("brand", ["n", 1], TensorProto.STRING),
        tensor("on_sale", ["n", 1], TensorProto.BOOL),
        tensor("tier", ["n", 1], whole),
    ]
    constants = {"axis": np.array([1]), "ten": np.float32([[10]]), "seven": np.array(7)}
    return onnx_bytes(nodes, inputs, [tensor("scores", ["n", 1])], constants)


def expected(i: int, store: str = "main") -> float:
    """Score a product for the first user as the graph says, in plain Python."""
    product, user = PRODUCTS[i], USERS[0]
    known = i < N - 1 and store == "main"
    seller = SELLERS[i] if known else {"rating": 0.0, "tier": "a", "style": [0.0] * 12}
    similar = sum(a * (b + c) for a, b, c in zip(user["taste"], product["image"], seller["style"], strict=True))
    price = 10.0 if product["price"] is None else product["price"]
    whole = BRANDS.index(product["brand"]) + product["on_sale"] + product["item_id"] % 7 + (seller["tier"] == "b")
    return float(similar + price + whole + sum(v % 7 for v in user["viewed"]) + seller["rating"] + user["age"] + 5.0)


def write_json_lines(path: Path, ids: list[str], rows: list[dict[str, Any]]) -> Path:
    lines = [json.dumps({"id": i} | row) for i, row in zip(ids, rows, strict=True)]
    (path := path.with_suffix(".jsonl")).write_text("\n".join(lines) + "\n")
    return path


def write_parquet(path: Path, ids: list[str], rows: list[dict[str, Any]]) -> Path:
    """Write lists, lists of a fixed size, dictionaries and decimals, as a warehouse does."""
    table = pd.DataFrame(rows)
    columns: dict[str, Any] = {"id": pa.array(ids).dictionary_encode()}
    for name in table:
        column = table[name].tolist()
        if name in ("image", "style"):
            columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(np.float32(column).reshape(-1)), 12)
        elif name == "taste":
            columns[name] = pa.array(column, pa.list_(pa.float64()))
        elif name in ("brand", "tier"):
            columns[name] = pa.array(column).dictionary_encode()
        elif name in ("price", "rating"):
            values = [None if v is None or v != v else decimal.Decimal(repr(v)) for v in column]
            columns[name] = pa.array(values, pa.decimal128(12, 4))
        else:
            columns[name] = pa.array(column)
    path = path.with_suffix(".parquet")
    parquet.write_table(pa.table(columns), path)
    return path


IDS = {"user": ["u0", "u1"], "product": [str(i) for i in range(N)], "seller": [f"main:k{i}é" for i in range(N - 1)]}
ROWS = {"user": USERS, "product": PRODUCTS, "seller": SELLERS}


Tool = Callable[..., Result]


@pytest.fixture(scope="module")
def tag(shop: Shop) -> str:
    return import_model(Path(shop.environment["BENTOML_HOME"]).parent, graph(), SCHEMA, "every")


@pytest.fixture
def tool(shop: Shop, tag: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Tool]:
    """Run a command of `ranker` on the model and the store."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 0) -> Result:
        settings = {"RANKER_REDIS_URL": redis_url, "RANKER_MODEL": tag, "RANKER_RUNNER": "local"}
        result = CliRunner().invoke(main, arguments, env=settings)
        assert result.exit_code == code, result.output
        return result

    with temporary_model_store(Path(shop.environment["BENTOML_HOME"]) / "models"):
        yield run


@pytest.fixture
def files(tool: Tool, redis_client: Redis, tmp_path: Path) -> dict[str, str]:
    """Load users, products and sellers; return the file of each."""
    redis_client.flushall()
    written = {name: write_json_lines(tmp_path / name, IDS[name], rows) for name, rows in ROWS.items()}
    written |= {name: write_parquet(tmp_path / name, IDS[name], ROWS[name]) for name in ("product", "seller")}
    for name, path in written.items():
        of = ["--group", name] if name == "seller" else ["--entity", name]
        assert f"Loaded {len(IDS[name])} {name} vectors" in tool("features", "load", str(path), *of).output
    return {name: str(path) for name, path in written.items()}


@pytest.fixture
def served(shop: Shop, tag: str, files: dict[str, str], tmp_path: Path) -> Iterator[Served]:
    settings = {"RANKER_MODEL": tag, "RANKER_RUNNER": "local", "RANKER_FEATURE_LOG": str(tmp_path / "log")}
    with serve(shop.environment | settings | {"RANKER_FEATURE_LOG_PERCENT": "100"}, tmp_path / "out") as running:
        yield running


def ask(served: Served, path: str, **more: Any) -> dict[str, Any]:
    body = {"requestId": "r", "userId": "u0", "productIds": IDS["product"], "context": {"hour": 5}} | more
    response = httpx.post(f"{served.url}{path}", json=body, timeout=30)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_what_was_loaded_is_inspected_verified_and_migrated(
    tool: Tool, files: dict[str, str], redis_client: Redis, redis_url: str
) -> None:
    for name, rows in ROWS.items():
        of = ["--group", name] if name == "seller" else ["--entity", name]
        (shown,) = json.loads(tool("features", "inspect", IDS[name][0], *of, "--json").stdout)
        assert shown["features"] == rows[0]
    said = " ".join(tool("features", "inspect", "0", "--entity", "product").output.split())
    assert f"item_id {BIG}" in said
    assert "brand nike" in said
    assert "on_sale True" in said
    assert "12 in all" in said
    compared = ["--users", files["user"], "--products", files["product"], "--group-rows", f"seller={files['seller']}"]
    findings = json.loads(tool("features", "verify", *compared, "--json").stdout)["findings"]
    parity = {finding["check"]: finding for finding in findings if finding["check"].endswith("parity")}
    assert {check: (one["status"], one["data"]["rows"]) for check, one in parity.items()} == {
        f"{name} parity": ("ok", len(rows)) for name, rows in ROWS.items()
    }
    other = write_json_lines(Path("other"), IDS["seller"][:1], [SELLERS[0] | {"style": [9.0] * 12}])
    different = tool("features", "verify", "--group-rows", f"seller={other}", code=1).output
    assert (
        f"seller parity: of 1 rows, 0 are not stored and 1 are stored otherwise: {IDS['seller'][0]} style[0]"
        in different
    )
    assert "has no group no" in tool("features", "verify", "--group-rows", f"no={other}", code=1).output
    before = redis_client.get("every:product:0")
    for name, form in (("product", "json"), ("product", "binary"), ("seller", "json"), ("seller", "binary")):
        of = ["--group", name] if name == "seller" else ["--entity", name]
        assert (
            f"{len(IDS[name])} of {len(IDS[name])} keys rewritten as {form}"
            in tool("features", "migrate", *of, "--to", form).output
        )
    assert redis_client.get("every:product:0") == before
    with FeatureWriter(redis_url, SCHEMA) as writer:
        writer.write_products(["0"], pd.DataFrame(PRODUCTS[:1]))
    assert redis_client.get("every:product:0") == before


@pytest.mark.slow  # measures
def test_model_is_examined_measured_and_compared(tool: Tool, files: dict[str, str], tag: str) -> None:
    report = json.loads(tool("doctor", "--capacity", "--json", "--products", "5").stdout)
    found = {finding["check"]: finding for finding in report["findings"]}
    assert {name: found[f"{name} features"]["status"] for name in ROWS} == dict.fromkeys(ROWS, "ok")
    assert found["trial ranking"]["status"] == "ok"
    groups = report["capacity"]["shop"]["groups"]
    assert groups["seller"]["count"] == N - 1
    for how in ([], ["--synthetic"]):
        same = json.loads(tool("model", "diff", tag, tag, "--json", *how).stdout)
        assert same["differences"] == []
        assert same["agreement"]["correlation"] == pytest.approx(1)


def test_requests_are_scored_explained_logged_replayed_and_made(
    served: Served, tool: Tool, files: dict[str, str], tmp_path: Path
) -> None:
    for store in ("main", "other"):
        answer = ask(served, "/predict", context={"hour": 5, "store": store})
        assert (answer["missing"], answer["degraded"]) == ([], False)
        of = dict(zip(answer["ranking"], answer["scores"], strict=True))
        assert [of[i] for i in IDS["product"]] == pytest.approx([expected(i, store) for i in range(N)], abs=1e-4)
    verified = tool(
        "features", "verify", "--users", files["user"], "--products", files["product"], "--service", served.url
    )
    assert "served scores equal those computed here" in " ".join(verified.output.split())
    explained = ask(served, "/explain")
    assert explained["user"]["features"] == USERS[0]
    assert explained["context"] == {"hour": 5.0, "store": "main"}
    for product in explained["products"]:
        i = int(product["id"])
        assert product["features"] == PRODUCTS[i]
        if i < N - 1:
            assert product["groups"]["seller"] == {"source": "stored", "reason": None, "features": SELLERS[i]}
        assert set(product["contributions"]["product"]) == set(PRODUCTS[0])
        assert set(product["contributions"]["groups"]["seller"]) == set(SELLERS[0])
    for name in ("user", "product"):
        (tmp_path / f"{name}.txt").write_text("\n".join(IDS[name]))
    ids = ["--user-ids", str(tmp_path / "user.txt"), "--product-ids", str(tmp_path / "product.txt")]
    benched = json.loads(tool("bench", served.url, "--rate", "10", "--seconds", "1", *ids, "--json").stdout)
    assert benched["errors"] == {}
    served.process.terminate()
    served.process.wait(30)
    assert "bit for bit" in tool("log", "replay", str(tmp_path / "log")).output


@NEEDS_CHROMIUM
def test_playground_shows_a_vector_as_a_plot_a_category_by_its_text_and_a_history_as_ids(
    browser: Browser, served: Served
) -> None:
    with sound_page(browser) as page:
        page.goto(f"{served.url}/play")
        expect(page.locator("#ranking li").first).to_be_visible()
        for box in page.locator("#features details:not([open]) summary").all():
            box.click()
        shown = page.locator("#features")
        for name, size in (("taste", 12), ("image", 12), ("style", 12)):
            plot = shown.get_by_role("row").filter(has_text=name).get_by_role("img")
            expect(plot).to_have_attribute("aria-label", f"{size} values")
        brand = shown.get_by_role("row").filter(has_text="brand").locator("input")
        assert brand.input_value() in BRANDS
        viewed = shown.get_by_role("row").filter(has_text="viewed")
        assert viewed.locator("input").input_value() == json.dumps(USERS[0]["viewed"], separators=(",", ":"))
        assert viewed.get_by_role("img").count() == 0
        edited = shown.get_by_role("row").filter(has_text="item_id").locator("input")
        assert int(edited.input_value()) in range(BIG, BIG + N)
        edited.fill(str(BIG + 100))
        with page.expect_request(
            lambda request: request.url.endswith("/explain") and "overrides" in (request.post_data or "")
        ) as sent:
            edited.press("Enter")
        assert f'"item_id":{BIG + 100}' in (sent.value.post_data or "")
        expect(shown.get_by_role("row").filter(has_text="item_id").locator("input")).to_have_value(str(BIG + 100))
