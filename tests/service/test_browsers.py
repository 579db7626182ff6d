"""Pages of other origins, and what else asks by HEAD and OPTIONS, as browsers and probes do."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.service.conftest import Served, Shop, serve

TOKEN, SHOP, OTHER = "correct-horse-battery", "https://shop.example", "https://other.example"
BODY = {"requestId": "r", "userId": "3", "productIds": ["1", "2", "3"]}
BEARER = {"authorization": f"Bearer {TOKEN}"}
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-request-timeout-ms",
}
ALLOWED = "access-control-allow-origin"


class Shopfront(BaseHTTPRequestHandler):
    """A page of another server."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<p>A shop</p>")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def pages() -> Iterator[str]:
    """Where a page of another origin is."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Shopfront) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def served(stocked: Shop, pages: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("served") / "log"
    settings = {"RANKER_RUNNER": "local", "RANKER_API_TOKEN": TOKEN, "RANKER_CORS_ORIGINS": f"{SHOP},{pages}"}
    with serve(stocked.environment | settings, log) as running:
        yield running


@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_preflight_needs_no_token_and_what_follows_does(served: Served, path: str) -> None:
    url = served.url + path
    answer = httpx.options(url, headers=PREFLIGHT | {"origin": SHOP})
    assert answer.status_code == 200
    assert answer.headers[ALLOWED] == SHOP
    assert "POST" in answer.headers["access-control-allow-methods"]
    said = answer.headers["access-control-allow-headers"].lower()
    assert all(name in said for name in PREFLIGHT["access-control-request-headers"].split(","))
    answer = httpx.post(url, json=BODY, headers=BEARER | {"origin": SHOP})
    assert (answer.status_code, answer.headers[ALLOWED]) == (200, SHOP)
    assert "X-Ranker-Model" in answer.headers["access-control-expose-headers"]
    assert httpx.post(url, json=BODY, headers={"origin": SHOP}).status_code == 401


def test_pages_see_errors_as_errors(served: Served) -> None:
    for path, body, headers, status in (
        ("/predict", b"{}", BEARER, 400),
        ("/predict", b"{}", {}, 401),
        ("/nowhere", b"{}", BEARER, 404),
        ("/livez", b"{}", BEARER, 405),
        ("/predict", b" " * (2 << 20), BEARER, 413),
    ):
        answer = httpx.post(served.url + path, content=body, headers=headers | {"origin": SHOP})
        assert (answer.status_code, answer.headers[ALLOWED]) == (status, SHOP)


def test_pages_of_no_such_origin_are_not_let_in(served: Served) -> None:
    answer = httpx.options(f"{served.url}/predict", headers=PREFLIGHT | {"origin": OTHER})
    assert (answer.status_code, answer.json()["error_type"]) == (400, "refused_preflight")
    assert "because of its origin;" in answer.json()["error"]
    assert ALLOWED not in answer.headers
    answer = httpx.options(
        f"{served.url}/predict",
        headers={**PREFLIGHT, "origin": SHOP, "access-control-request-headers": "x-other"},
    )
    assert "because of its headers;" in answer.json()["error"]
    answer = httpx.post(f"{served.url}/predict", json=BODY, headers=BEARER | {"origin": OTHER})
    assert answer.status_code == 200
    assert ALLOWED not in answer.headers
    assert "origin" in answer.headers["vary"].lower()  # or a cache would give one page the other's answer


def test_options_names_the_methods_of_a_path(served: Served) -> None:
    for path, methods in (("/predict", "OPTIONS, POST"), ("/livez", "GET, HEAD, OPTIONS"), ("/metrics", None)):
        answer = httpx.options(served.url + path, headers=BEARER)
        assert (answer.status_code, answer.content) == (200, b"")
        assert methods is None or answer.headers["allow"] == methods
    assert httpx.options(f"{served.url}/nowhere", headers=BEARER).status_code == 404
    assert httpx.options(f"{served.url}/predict").status_code == 401


def test_head_is_get_without_a_body(served: Served) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/docs.json", "/", "/play"):
        head, get = (httpx.request(method, served.url + path, headers=BEARER) for method in ("HEAD", "GET"))
        assert (head.status_code, head.content) == (200, b""), path
        assert head.headers["content-type"] == get.headers["content-type"]
    answer = httpx.head(f"{served.url}/predict", headers=BEARER)
    assert (answer.status_code, answer.content, answer.headers["allow"]) == (405, b"", "OPTIONS, POST")


def test_page_in_a_browser_gets_its_ranking(served: Served, pages: str) -> None:
    """Chromium, a page of another origin, a token: the preflight and the request after it."""
    pytest.importorskip("playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    from playwright.sync_api import Error, sync_playwright

    script = """async ([url, body, token]) => {
        const answer = await fetch(url, {method: "POST", body: JSON.stringify(body),
            headers: {"content-type": "application/json", "authorization": "Bearer " + token}});
        return [answer.status, answer.headers.get("x-ranker-model"), (await answer.json()).error_type ?? "none"];
    }"""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            page.goto(pages)
            status, model, _ = page.evaluate(script, [f"{served.url}/predict", BODY, TOKEN])
            assert (status, model) == (200, "test-shop:1")
            status, _, error_type = page.evaluate(script, [f"{served.url}/predict", BODY, "wrong"])
            assert (status, error_type) == (401, "unauthorized")
            page.goto(pages.replace("localhost", "127.0.0.1"))  # the same page, of another origin
            with pytest.raises(Error, match="Failed to fetch"):
                page.evaluate(script, [f"{served.url}/predict", BODY, TOKEN])
        finally:
            browser.close()
