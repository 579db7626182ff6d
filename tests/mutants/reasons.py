"""Reasons: the changes of the code that no test can notice, and why, as `reasons.toml` lists them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import NamedTuple

REASONS = Path(__file__).with_name("reasons.toml")


class Change(NamedTuple):
    """What a mutant changes, in terms that outlive its number."""

    function: str
    """`ranker.package.module.Class.function`"""
    before: str
    """The lines it takes away, stripped."""
    after: str
    """The lines it puts there."""


def read(path: Path = REASONS) -> dict[Change, str]:
    """Return the reason of each change."""
    found: dict[Change, str] = {}
    for entry in tomllib.loads(path.read_text())["reason"]:
        for mutant in entry["mutants"]:
            change = Change(mutant["in"], mutant["before"], mutant["after"])
            if change in found:
                raise ValueError(f"{path.name} has two reasons for {change}")
            found[change] = entry["why"]
    return found


def entry(change: Change) -> str:
    """Return the change as it stands in the list."""
    before, after = map(_quoted, change[1:])
    return f'    {{ in = "{change.function}", before = {before}, after = {after} }},'


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if "'" in text or "\n" in text else f"'{text}'"
