"""Spellings of one request: what callers write otherwise and mean the same, and what they seem to have meant.

An id may be an integer, what is absent may be null, and a byte order mark may stand in front. Nothing of this is looked
at before a body has failed to be a request as it is, so that it costs those nothing who write it plainly.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from pydantic_core import from_json, to_json

BOM = b"\xef\xbb\xbf"
ABSENT_AS_NULL = ("requestId", "zipCode")
IDS = ("requestId", "userId")
USERS = ("user", "u", "customer", "member", "visitor")
"""Names of a user in other APIs, alone or before `id` or `key`: a body with one lacks its `userId`."""
NAMES_COMPARED = 100
"""Names that are no fields, of one request; a body may have 20,000."""


class Spelled:
    """The body of a request in the one spelling that the types take.

    Args:
        body: JSON text; what is no JSON, or no object, is left as it is.

    Attributes:
        body: As the types take it.
        changed: Whether anything was written otherwise.
        fields: What is in it; empty where it is no object.
    """

    def __init__(self, body: bytes) -> None:
        self.body = body.removeprefix(BOM)
        self.changed = self.body is not body and len(self.body) < len(body)
        self.fields: dict[str, Any] = {}
        try:
            read = from_json(self.body)
        except ValueError:
            return
        if isinstance(read, dict):
            self.fields = read
            if self._rewrite():
                self.changed, self.body = True, to_json(read)

    @property
    def request_id(self) -> str | None:
        """The request's id, where it has one."""
        given = self.fields.get("requestId")
        return given if isinstance(given, str) else None

    @property
    def product_count(self) -> int:
        """How many products are asked for, as far as can be told."""
        ids = self.fields.get("productIds")
        return len(ids) if isinstance(ids, list) else 0

    def _rewrite(self) -> bool:
        """Write the fields as the types take them; say whether any was not."""
        fields, changed = self.fields, False
        for name in ABSENT_AS_NULL:
            if name in fields and fields[name] is None:
                del fields[name]
                changed = True
        if fields.get("requestId") == "":
            del fields["requestId"]
            changed = True
        for name in IDS:
            if type(fields.get(name)) is int:
                fields[name] = _text(fields[name])
                changed = True
        ids = fields.get("productIds")
        if isinstance(ids, list) and int in set(map(type, ids)):
            fields["productIds"] = [_text(i) if type(i) is int else i for i in ids]
            changed = True
        return changed


def misspelt(names: Iterable[str], fields: Iterable[str]) -> list[str]:
    """Say which names are no fields, but nearly are: but for case, for `_` and `-`, or for one letter.

    Args:
        names: Of what a request has beside its fields; of very many, the first.
        fields: What it may have.
    """
    known = {_plain(field): field for field in fields}
    problems = []
    for name in islice(names, NAMES_COMPARED):
        meant = next((known[field] for field in known if _is_near(_plain(name[:64]), field)), None)
        if meant is not None:
            problems.append(f"{name[:40]!r} is no field, but {meant} is")
    return problems


def other_user(names: Iterable[str]) -> list[str]:
    """Say which names seem to be a user's id, in a request that has none: it would be ranked as nobody's."""
    return [
        f"{name[:40]!r} is no field, but userId is; null ranks for nobody"
        for name in islice(names, NAMES_COMPARED)
        if _names_user(name)
    ]


def _names_user(name: str) -> bool:
    plain = _plain(name[:64])
    return any(plain.startswith(word) and plain[len(word) :] in ("", "id", "key") for word in USERS)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _is_near(name: str, other: str) -> bool:
    """Say whether two names are the same but for one letter: wrong, lacking, too many, or in its neighbour's place."""
    if abs(len(name) - len(other)) > 1:
        return False
    at = next((i for i, (a, b) in enumerate(zip(name, other, strict=False)) if a != b), min(len(name), len(other)))
    rest, its_rest = name[at:], other[at:]
    return (
        rest[1:] == its_rest[1:]
        or rest[1:] == its_rest
        or rest == its_rest[1:]
        or (rest[:2] == its_rest[1::-1] and rest[2:] == its_rest[2:])
    )


def _text(number: int) -> str | int:
    """Return a number's decimal text; the number itself where it has thousands of digits, which is no id."""
    try:
        return str(number)
    except ValueError:
        return number
