"""`GET /`: Swagger UI over `/docs.json`, from the files that BentoML has of it, and from nowhere else.

BentoML's own page loads a tracker, and its description of a service five pictures, from other hosts.
"""

from __future__ import annotations

from pathlib import Path

from ranker.http.pages.page import Page

PATH = "/"


def make_page() -> Page:
    """Return what answers with the page."""
    return Page(Path(__file__).with_name("swagger.html"), assets=True)
