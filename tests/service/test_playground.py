"""`GET /play` in a real browser: Debian's Chromium, driven from outside, against a served model."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from redis import Redis

from tests.service.conftest import ONNX, SCHEMA, Served, Shop, import_model, serve
from tests.support.chromium import NEEDS_CHROMIUM, browser, sound_page

TOKEN = "a-token-for-the-playground"
BEARER = {"authorization": f"Bearer {TOKEN}"}
HOSTILE = "<img src=x onerror='window.hacked=1'>"
__all__ = ["browser"]

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def playing(stocked: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service of somebody's own model, that wants a token."""
    home = tmp_path_factory.mktemp("playing")
    tag = import_model(home, ONNX, SCHEMA, "own-shop")
    changed = {"BENTOML_HOME": str(home / "bentoml"), "RANKER_MODEL": tag, "RANKER_API_TOKEN": TOKEN}
    with serve(stocked.environment | changed, home / "log") as running:
        yield running


@pytest.fixture
def page(browser: Browser, playing: Served) -> Iterator[Page]:
    """The page after the token was given, some of what is stored ranked; nothing may go wrong in it meanwhile."""
    # The first question, without the token, is refused; that is how the page learns that it needs one.
    with sound_page(browser, expected="401", viewport={"width": 1280, "height": 900}) as opened:
        enter(opened, playing)
        yield opened


def enter(page: Page, playing: Served) -> None:
    page.goto(f"{playing.url}/play")
    page.get_by_label("API token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#ranking li").first).to_be_visible()


def ranked(page: Page) -> list[str]:
    return page.locator("#ranking .id").all_inner_texts()


def basket(page: Page) -> list[str]:
    return [title or "" for title in (b.get_attribute("title") for b in page.locator("#basket button").all())]


def rank_only(page: Page, playing: Served, ids: list[str], user: str = "5") -> None:
    """Have just these products ranked, by keyboard."""
    while page.locator("#basket button").count():
        page.locator("#basket button").first.press("Enter")
    for product in ids:
        page.get_by_label("Add products").fill(f'"{product}"')
        page.get_by_label("Add products").press("Enter")
    page.get_by_label("User", exact=True).fill(user)
    page.get_by_label("User", exact=True).press("Enter")
    answer = httpx.post(
        f"{playing.url}/predict", headers=BEARER, json={"requestId": "r", "userId": user, "productIds": ids}
    ).json()
    expect(page.locator("#ranking .id")).to_have_text(answer["ranking"])


def ranking_with(playing: Served, ids: list[str], product: str, value: float) -> list[str]:
    """What ranks how when every feature of a product has this value."""
    request = {"requestId": "r", "userId": "5", "productIds": ids}
    request |= {"overrides": {"products": {product: dict.fromkeys(SCHEMA.product.names, value)}}}
    answer = httpx.post(f"{playing.url}/explain", headers=BEARER, json=request).json()
    return [row["id"] for row in answer["products"]]


def test_page_is_open_and_allows_its_own_code_only(playing: Served) -> None:
    response = httpx.get(f"{playing.url}/play")
    assert response.status_code == 200
    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["script-src"].startswith("'sha256-")
    assert "unsafe" not in response.headers["content-security-policy"]
    assert httpx.head(f"{playing.url}/play").content == b""
    assert httpx.post(f"{playing.url}/explain", json={}).status_code == 401
    assert httpx.get(f"{playing.url}/play/ids").status_code == 401


@pytest.mark.parametrize("path", ["/", "/play"])
def test_pages_ask_no_other_host_for_anything(browser: Browser, playing: Served, path: str) -> None:
    asked: list[str] = []
    with sound_page(browser, extra_http_headers=BEARER) as opened:
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(f"{playing.url}{path}")
        if path == "/":
            predict = opened.locator("#operations-Ranking-predict")
            predict.locator("button.opblock-summary-control").click()
            predict.get_by_role("button", name="Try it out").click()
            predict.get_by_role("button", name="Execute").click()
            expect(predict.locator(".live-responses-table").get_by_text("X-Ranker-Model".lower())).to_be_visible()
        else:
            expect(opened.locator("#ranking li").first).to_be_visible()
    assert [url for url in asked if not url.startswith((playing.url, "data:", "blob:"))] == []


def test_swagger_asks_for_the_token_once_and_shows_it_to_the_service(browser: Browser, playing: Served) -> None:
    opened = browser.new_page()
    opened.set_default_timeout(20_000)
    opened.goto(playing.url)
    for token, said in (("no-token-of-this-service", "not accept that token"), (TOKEN, "")):
        opened.get_by_label("API token").fill(token)
        opened.keyboard.press("Enter")
        expect(opened.locator("#said")).to_contain_text(said)
    expect(opened.get_by_label("API token")).to_be_hidden()
    predict = opened.locator("#operations-Ranking-predict")
    predict.locator("button.opblock-summary-control").click()
    predict.get_by_role("button", name="Try it out").click()
    predict.get_by_role("button", name="Execute").click()
    expect(predict.locator(".live-responses-table").get_by_text("X-Ranker-Model".lower())).to_be_visible()
    expect(predict.locator(".request-url")).to_contain_text(f"{playing.url}/predict")
    opened.close()


def test_products_are_ranked_as_predict_ranks_them_by_keyboard_alone(page: Page, playing: Served) -> None:
    rank_only(page, playing, ["3", "14", "15", "92", "65"])
    expect(page.locator("#waterfall div")).to_contain_text(["fetch", "assemble", "score"])
    page.locator("#ranking button").nth(2).press("Enter")
    third = ranked(page)[2]
    expect(page.locator("#why-title")).to_have_text(f"Why {third} is number 3")
    expect(page.locator("#features .feature")).to_have_count(SCHEMA.width)


def test_product_dragged_from_the_shelf_is_ranked(page: Page, playing: Served) -> None:
    rank_only(page, playing, ["3", "14"])
    page.get_by_role("button", name="Add 7", exact=True).drag_to(page.locator("#basket"))
    expect(page.locator("#ranking li")).to_have_count(3)
    assert basket(page) == ["3", "14", "7"]
    page.get_by_role("button", name="Take out 3", exact=True).click()
    expect(page.locator("#ranking li")).to_have_count(2)
    assert set(ranked(page)) == {"14", "7"}


def test_edited_feature_moves_products_and_is_never_written(page: Page, playing: Served, redis_url: str) -> None:
    ids = [str(i) for i in range(30)]
    rank_only(page, playing, ids)
    before = ranked(page)
    with Redis.from_url(redis_url) as client:
        stored = {key: client.get(key) for key in ("user:5", f"product:{before[-1]}")}
    value, expected = next(
        (value, ranking)
        for value in ("9", "-9")
        if (ranking := ranking_with(playing, ids, before[-1], float(value)))[-1] != before[-1]
    )
    page.locator("#ranking button").last.click()
    for name in SCHEMA.product.names:
        field = page.get_by_label(f"product feature {name}", exact=True)
        field.fill(value)
        field.press("Enter")
        expect(field).to_have_class("edited")
    expect(page.locator("#features input.edited")).to_have_count(SCHEMA.product.width)
    expect(page.locator("#ranking .id")).to_have_text(expected)
    rise = before.index(before[-1]) - expected.index(before[-1])
    expect(page.locator("#ranking .up", has_text=f"▲{rise}")).not_to_have_count(0)
    with Redis.from_url(redis_url) as client:
        assert {key: client.get(key) for key in stored} == stored
    page.get_by_role("button", name="Undo all edits").click()
    expect(page.locator("#ranking .id")).to_have_text(before)


def test_hostile_id_is_text_wherever_it_is_shown(page: Page, playing: Served) -> None:
    rank_only(page, playing, [HOSTILE, "3"], user=HOSTILE)
    page.locator("#ranking button", has_text="onerror").click()
    expect(page.locator("#why-title")).to_contain_text(HOSTILE)
    assert page.locator("img").count() == 0
    assert page.evaluate("window.hacked") is None


def test_refusal_is_shown_in_words(page: Page, playing: Served) -> None:
    page.evaluate("token = 'not-the-right-token'")
    page.get_by_role("button", name="Rank", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("token")
    expect(page.get_by_label("API token")).to_be_focused()
    expect(page.locator("#ranking li")).to_have_count(0)


def test_token_is_gone_after_a_reload(page: Page, playing: Served) -> None:
    assert page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])") == '[{},{},""]'
    page.reload()
    expect(page.get_by_label("API token")).to_be_visible()
    expect(page.locator("#ranking li")).to_have_count(0)


def test_narrow_screen_needs_no_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": 340, "height": 720})
    assert page.evaluate("document.documentElement.scrollWidth") <= 340


def test_page_follows_the_systems_colours(page: Page) -> None:
    shades = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        red = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
        shades.append(int(red))
    assert shades[0] > 200
    assert shades[1] < 60
