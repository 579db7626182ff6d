"""The documentation's pages, and what of them tests take."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parent.parent.parent
DOCS = PROJECT / "docs"
README = (PROJECT / "README.md").read_text()
OUTSIDE = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
"""The pages that are not of the site, beside the changelog."""


def page(name: str) -> str:
    """Return the text of a page, such as `reference/api`."""
    return (DOCS / f"{name}.md").read_text()


def everything() -> dict[str, str]:
    """Return the README, what lies beside it, and all pages, by their paths."""
    pages = [*(PROJECT / name for name in OUTSIDE), *sorted(DOCS.rglob("*.md"))]
    return {str(path.relative_to(PROJECT)): path.read_text() for path in pages}


def marked(text: str, what: str) -> str:
    """Return what stands between `<!-- what … -->` and `<!-- end of what -->`."""
    found = re.search(rf"<!-- {what}\b.*?-->\n(.*?)\n<!-- end of {what} -->", text, re.DOTALL)
    assert found is not None, what
    return found[1]


def rights(user: str) -> list[list[str]]:
    """Return the words after each `ACL SETUSER user` that operators are told to copy, in order."""
    command = f"ACL SETUSER {user} "
    lines = page("how-to/connect-to-redis").splitlines()
    return [line.removeprefix(command).split() for line in lines if line.startswith(command)]
