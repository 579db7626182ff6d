"""Words in names of inputs: which group, history or mask a name speaks of.

Owns the lists. A word that names a group is believed; one that only sounds like it is a guess, to be asked.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ranker.scoring.graph.inputs import named_group

NAMES = {
    **dict.fromkeys(("user", "uid", "customer", "member", "visitor"), "user"),
    **dict.fromkeys(("item", "product", "candidate", "candidates", "sku"), "product"),
    **dict.fromkeys(("context", "ctx"), "context"),
}
"""Words that name a group."""
HINTS = {
    **dict.fromkeys(("age", "gender", "segment", "session"), "user"),
    **dict.fromkeys(("hour", "weekday", "device", "daytime", "query"), "context"),
}
"""Words of what a group often has."""
SEQUENCES = frozenset({"hist", "history", "seq", "sequence", "viewed", "clicked", "bought", "behavior"})
MASKS, LENGTHS = frozenset({"mask"}), frozenset({"length", "len"})


class Guess(NamedTuple):
    """The group of a feature, and whether its name says so."""

    group: str
    sure: bool


def guess_group(name: str) -> Guess:
    """Return the group that a name speaks of; as a guess the product's, where it speaks of none."""
    named = named_group(name)
    if named in ("user", "product", "context"):
        return Guess(str(named), True)
    words = split(name)
    if words & SEQUENCES:  # `hist_item_id` are products of the user's
        return Guess("user", "user" in words or bool(words & {"hist", "history"}))
    groups = {NAMES[word] for word in words if word in NAMES}
    if len(groups) == 1:
        return Guess(groups.pop(), True)
    hints = sorted(groups) or sorted({HINTS[word] for word in words if word in HINTS})
    return Guess(hints[0] if len(hints) == 1 else "product", False)


def split(name: str) -> set[str]:
    """Return the words of a name, in small letters, without figures."""
    return set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()))
