"""`GET /play` with a model of one's own: long names, a context, features that add nothing, ids that are not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_plus

import httpx
import numpy as np
import onnx
import pytest
from axe_playwright_python.sync_playwright import Axe
from onnx import numpy_helper
from playwright.sync_api import Browser, Page, Route, expect
from redis import Redis

from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import encode
from tests.service.conftest import Served, Shop, import_model, serve
from tests.support.chromium import NEEDS_CHROMIUM, browser, sound_page
from tests.support.models import mlp_onnx

__all__ = ["browser"]

pytestmark = NEEDS_CHROMIUM

SILENT = [f"user_feature_that_says_nothing_{i}" for i in range(5)]
SCHEMA = FeatureSchema.from_mapping(
    {
        "user": {
            "key": "own-user:{id}",
            "features": [*(f"user_feature_{i}=c39b0c7dd3636fa56a85ef438d746d53" for i in range(3)), *SILENT],
        },
        "product": {"key": "own-product:{id}", "features": ["price", "margin_after_returns_and_discounts_in_percent"]},
        "context": {
            "features": [
                {"name": "hour", "default": 12},
                {"name": "device", "categories": {"ios": 1, "android": 2}, "default": 0},
                {"name": "region", "from": "zipCode", "prefixes": {"8": 1}, "default": 0},
                {"name": "taste", "shape": [2]},
            ]
        },
        "productContext": {"features": ["live_price"]},
    }
)
WIDE, NARROW = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
PRODUCTS = [f"p{i}" for i in range(30)]


def graph() -> bytes:
    """A network that looks at no feature of SILENT."""
    model = onnx.load_from_string(mlp_onnx(SCHEMA.width))
    for weights in model.graph.initializer:
        if weights.name == "w1":
            values = numpy_helper.to_array(weights).copy()
            values[3 : 3 + len(SILENT)] = 0
            weights.CopyFrom(numpy_helper.from_array(values, "w1"))
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def own(shop: Shop, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("own")
    tag = import_model(home, graph(), SCHEMA, "own")
    random = np.random.default_rng(3)
    with Redis.from_url(redis_url) as client:
        client.flushall()
        for key, ids, width in (("own-user", ["ann", "bob"], 8), ("own-product", PRODUCTS, 2)):
            vectors = encode(random.normal(size=(len(ids), width)).astype(np.float32), SCHEMA.fingerprint)
            client.mset({f"{key}:{i}": vector for i, vector in zip(ids, vectors, strict=True)})
    changed = {"BENTOML_HOME": str(home / "bentoml"), "RANKER_MODEL": tag, "RANKER_RUNNER": "local"}
    with serve(shop.environment | changed, home / "log") as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    # Some tests have the service refuse what is asked, or end it.
    with sound_page(browser, expected="Failed to load resource", viewport=WIDE) as opened:
        yield opened


def open_page(page: Page, own: Served, state: str = "") -> None:
    page.goto("about:blank")
    page.goto(f"{own.url}/play{state}")
    expect(page.locator("#status")).to_contain_text("Ranked" if "user=" in state or not state else "Type")


def explained(own: Served, **request: Any) -> dict[str, Any]:
    asked = {"userId": "ann", "productIds": PRODUCTS[:3]} | request
    answer: dict[str, Any] = httpx.post(f"{own.url}/explain", json=asked).raise_for_status().json()
    return answer


def ranked(page: Page) -> list[str]:
    return page.locator("#ranking .id").all_inner_texts()


def test_page_begins_with_what_is_stored(page: Page, own: Served) -> None:
    open_page(page, own)
    assert page.get_by_label("User", exact=True).input_value() == "ann"
    assert sorted(ranked(page)) == sorted(PRODUCTS[:10])
    assert page.locator("#shelf button").all_inner_texts() == PRODUCTS
    assert httpx.get(f"{own.url}/play/ids").json() == {"users": ["ann", "bob"], "products": PRODUCTS, "failure": None}


def test_pasted_list_is_split_however_it_was_written(page: Page, own: Served) -> None:
    open_page(page, own)
    page.get_by_role("button", name="Take all out").click()
    for text in ("p1, p2;p3", "p1\np2\tp3\n", '["p1", "p2", "p3"]', "('p1','p2','p3')", "p1 p2 p3"):
        page.get_by_label("Add products").evaluate(
            """(field, text) => {
                 const data = new DataTransfer();
                 data.setData("text/plain", text);
                 const pasted = {clipboardData: data, bubbles: true, cancelable: true};
                 field.dispatchEvent(new ClipboardEvent("paste", pasted));
               }""",
            text,
        )
        expect(page.locator("#ranking .id")).to_have_count(3)
        assert sorted(ranked(page)) == ["p1", "p2", "p3"]
        page.get_by_role("button", name="Take all out").click()
    page.get_by_label("Add products").fill("p4,p5")
    page.get_by_label("Add products").press("Enter")
    expect(page.locator("#ranking .id")).to_have_count(2)


def test_what_has_no_features_is_marked(page: Page, own: Served) -> None:
    open_page(page, own, "#user=nobody&products=p1,zzz")
    expect(page.locator("#user-note")).to_contain_text("no features")
    badged = page.locator("#ranking li", has=page.locator(".badge"))
    expect(badged).to_have_count(1)
    expect(badged).to_contain_text("zzz")
    open_page(page, own, "#user=nobody&products=zzz")
    expect(page.get_by_role("alert")).to_contain_text("Nothing is stored for this user or any of these products")


def test_context_zip_code_and_top_k_are_sent(page: Page, own: Served) -> None:
    open_page(page, own, "#user=ann&products=p0,p1,p2")
    asked = {"context": {"hour": 23.5, "device": "ios", "taste": [1, -2]}, "zipCode": "8001", "topK": 2}
    asked["productContext"] = {"live_price": [None, 40, None]}
    page.locator("#ranking button", has_text="p1").click()
    for label, text in (("zipCode", "8001"), ("hour", "23.5"), ("device", "ios"), ("taste", "[1, -2]")):
        page.get_by_label(label, exact=True).fill(text)
        page.get_by_label(label, exact=True).press("Enter")
    page.get_by_label("product context feature live_price").fill("40")
    page.get_by_label("product context feature live_price").press("Enter")
    expect(page.get_by_label("product context feature live_price")).to_have_class("edited")
    page.get_by_label("topK", exact=True).fill("2")
    page.get_by_label("topK", exact=True).press("Enter")
    expected = explained(own, **asked)
    expect(page.locator("#ranking .id")).to_have_text([product["id"] for product in expected["products"]])
    expect(page.locator(".feature", has_text="region")).to_contain_text("1")
    shown = page.locator("#ranking .number:nth-child(3)").all_inner_texts()
    assert [float(text) for text in shown] == pytest.approx([p["score"] for p in expected["products"]], rel=1e-3)
    page.get_by_label("hour", exact=True).fill("noon")
    page.get_by_label("hour", exact=True).press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("context.hour: Input should be a number")


def test_address_is_the_state_and_comes_back(page: Page, own: Served) -> None:
    open_page(page, own, "#user=bob&products=p3,p1,p2")
    page.get_by_label("hour", exact=True).fill("3")
    page.get_by_label("hour", exact=True).press("Enter")
    page.locator("#ranking button").nth(1).click()
    page.get_by_label("product feature price").fill("4.5")
    page.get_by_label("product feature price").press("Enter")
    expect(page.locator("#features input.edited")).to_have_count(2)  # the hour, too
    before = ranked(page), page.locator("#why-title").inner_text(), page.locator("#features").inner_text()
    page.reload()
    expect(page.locator("#features input.edited")).to_have_count(2)
    assert (ranked(page), page.locator("#why-title").inner_text(), page.locator("#features").inner_text()) == before
    address = unquote_plus(page.url)
    assert "user=bob" in address
    assert '"hour":3' in address


def test_features_that_add_nothing_are_folded_and_a_filter_finds_them(page: Page, own: Served) -> None:
    open_page(page, own)
    fold = page.locator("details", has_text=f"{len(SILENT)} more add nothing")
    expect(fold).not_to_have_attribute("open", "")
    expect(page.locator(".feature:visible")).to_have_count(SCHEMA.user.width + 7 - len(SILENT))
    page.get_by_label("Filter features by name").fill("NOTHING_3")
    expect(page.locator(".feature:visible .name")).to_have_text([SILENT[3]])
    page.get_by_label("Filter features by name").fill("nowhere")
    expect(page.locator("#features")).to_have_text("No feature's name contains that.")


def test_focus_stays_in_the_field_that_was_edited(page: Page, own: Served) -> None:
    open_page(page, own)
    field = page.get_by_label("product feature price")
    field.fill("50")
    field.press("Enter")
    expect(field).to_have_class("edited")
    expect(field).to_be_focused()
    expect(page.locator("#edits")).to_be_visible()
    expect(field).to_be_focused()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_no_name_and_no_number_is_cut_off(page: Page, own: Served, size: dict[str, int]) -> None:
    page.set_viewport_size(size)  # type: ignore[arg-type]
    open_page(page, own, "#user=ann&products=p1,a-product-with-a-very-long-id-that-goes-on-and-on-and-on-and-on")
    for fold in page.locator("#features summary").all():
        fold.click()
    cut = page.evaluate(
        """() => [...document.querySelectorAll(".name, .number, .id, h2, h3, .badge")].filter(e => e.offsetParent
           && (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== "inline"
               || e.getBoundingClientRect().right > innerWidth)).map(e => e.textContent)"""
    )
    assert cut == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    bars = page.evaluate("[...document.querySelectorAll('.diverging')].map(e => e.getBoundingClientRect().width)")
    assert min(width for width in bars if width) >= 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_axe_finds_nothing(page: Page, own: Served, scheme: Any, size: dict[str, int]) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)  # type: ignore[arg-type]
    for state in ("", "#user=nobody&products=p1,zzz&topK=2", "#products="):
        page.goto("about:blank")
        page.goto(f"{own.url}/play{state}")
        expect(page.locator("#status")).to_contain_text("Ranked")
        if state == "":
            page.get_by_label("product feature price").fill("9")
            page.get_by_label("product feature price").press("Enter")
            expect(page.locator("#features input.edited")).to_have_count(1)
        found = Axe().run(page).response
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]] == []
        assert len(found["passes"]) > 20


def test_waiting_nothing_and_a_service_that_is_gone_are_told_in_words(page: Page, own: Served) -> None:
    open_page(page, own)
    page.get_by_role("button", name="Take all out").click()
    expect(page.locator("#status")).to_have_text("Type or paste ids of products, and they are ranked here.")
    page.get_by_label("User", exact=True).fill("")
    page.get_by_role("button", name="Rank", exact=True).click()
    expect(page.locator("#status")).to_have_text(
        "Type or paste a user's id, or none, and ids of products, and they are ranked here."
    )

    held: list[Route] = []
    page.route("**/explain", lambda route: held.append(route))
    page.get_by_label("User", exact=True).fill("ann")
    page.get_by_label("Add products").fill("p1")
    page.get_by_label("Add products").press("Enter")
    expect(page.locator("#status")).to_have_text("Ranking…")
    expect(page.locator("#ranking")).to_have_attribute("aria-busy", "true")
    for route in held:
        route.abort()
    expect(page.get_by_role("alert")).to_have_text(
        "The service does not answer. Is it running, and is the network there?"
    )
    expect(page.locator("#ranking")).not_to_have_attribute("aria-busy", "true")
