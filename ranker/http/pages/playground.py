"""`GET /play`: one page that ranks, explains and edits in the browser, through `/explain`."""

from __future__ import annotations

from pathlib import Path

from ranker.http.pages.page import Page

PATH = "/play"


def make_page() -> Page:
    """Return what answers with the page."""
    return Page(Path(__file__).with_name("play.html"))
