"""Finding: one check of a service or a store, as the command line reports it. Knows nothing of what is checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report.

    Attributes:
        check: What was checked, in a few stable words.
        status: `fail` when serving would fail or answers would be wrong, `warn` when it serves less well than it could.
        seen: What was seen, one sentence.
        remedy: What to do, one sentence; empty when all is well.
        data: The figures, for programs.
    """

    check: str
    status: Status
    seen: str
    remedy: str = ""
    data: dict[str, Any] = field(default_factory=dict)


def ok(check: str, seen: str, **data: Any) -> Finding:
    """All is well."""
    return Finding(check, "ok", seen, data=data)


def warn(check: str, seen: str, remedy: str, **data: Any) -> Finding:
    """It serves, but less well than it could."""
    return Finding(check, "warn", seen, remedy, data)


def fail(check: str, seen: str, remedy: str, **data: Any) -> Finding:
    """It does not serve, or serves wrong answers."""
    return Finding(check, "fail", seen, remedy, data)
