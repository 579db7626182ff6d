"""Takes the documentation's picture of the playground of a demo that runs: `python -m tests.service.pictures URL`."""

from __future__ import annotations

import shutil
import sys

from playwright.sync_api import expect, sync_playwright

from tests.service.conftest import PROJECT


def main(url: str) -> None:
    """Photograph the page, a feature edited."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 860}, device_scale_factor=2)
        page.goto(f"{url}/play")
        expect(page.locator("#ranking li").first).to_be_visible()
        page.locator("#features input").first.fill("2")
        page.locator("#features input").first.press("Enter")
        expect(page.locator("#features input.edited")).to_have_count(1)
        page.screenshot(path=PROJECT / "docs" / "play.png")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
