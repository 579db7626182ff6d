"""What the README tells operators to copy."""

from __future__ import annotations

from pathlib import Path

README = Path(__file__).parent.parent.parent / "README.md"


def documented(user: str) -> list[list[str]]:
    """Return the words after each `ACL SETUSER user` there, in order."""
    command = f"ACL SETUSER {user} "
    lines = (line.strip() for line in README.read_text().splitlines())
    return [line.removeprefix(command).split() for line in lines if line.startswith(command)]
