"""Variables of the environment: which of them are settings, which are misspelt, and what is wrong with one in words.

Owns the prefix, and which names are somebody else's. Knows no setting: the fields are handed in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import AfterValidator, ValidationError
from pydantic.fields import FieldInfo

PREFIX = "RANKER_"
KUBERNETES = re.compile(
    r"RANKER(_[A-Z0-9_]+)?_(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)=.*|PORT(_\d+_(TCP|UDP|SCTP))?=(tcp|udp|sctp)://.*"
    r"|PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)=.*)"
)
"""Variables that Kubernetes injects into every pod of a namespace with a Service whose name begins with `ranker`, such
as `ranker` itself or `ranker-redis`; not ours to read or refuse."""


def read(environ: Mapping[str, str], fields: Mapping[str, FieldInfo]) -> tuple[dict[str, str], list[str]]:
    """Return the text of each field that the environment sets, by its name, and what is wrong with other variables."""
    given: dict[str, str] = {}
    problems: list[str] = []
    known = {PREFIX + name.upper(): name for name in fields}
    for variable, text in sorted(environ.items()):
        if variable in known:
            given[known[variable]] = text
        elif variable.startswith(PREFIX) and not KUBERNETES.fullmatch(f"{variable}={text}"):
            close = get_close_matches(variable, known, 1)
            problems.append(f"{variable} is not a setting" + (f"; did you mean {close[0]}?" if close else ""))
    return given, problems


def matching(pattern: str, wanted: str) -> AfterValidator:
    """Return the check of a text against a pattern, whose refusal says in words what is wanted."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(wanted)
        return text

    return AfterValidator(check)


def describe(err: ValidationError, fields: Mapping[str, FieldInfo]) -> list[str]:
    """Say each problem once, by variable; a union reports one error for each of its members."""
    messages: dict[str, list[str]] = {}
    values: dict[str, Any] = {}
    whole: list[str] = []
    for e in err.errors():
        if not e["loc"]:
            whole.append(e["msg"])
            continue
        name = str(e["loc"][0])
        messages.setdefault(name, []).append(e["msg"].removeprefix("Value error, "))
        values[name] = e["input"]
    # What repr hides is secret, or holds a password.
    shown = {name: f"={value!r}" for name, value in values.items() if fields[name].repr}
    return whole + [
        f"{PREFIX}{name.upper()}{shown.get(name, '')}: {', or '.join(problems)}" for name, problems in messages.items()
    ]
