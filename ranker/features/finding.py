"""What one check saw. Knows nothing of what is checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report.

    Attributes:
        check: What was checked, in a few stable words.
        status: `fail` when answers are wrong or incomplete, `warn` when they may become so.
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
    """Something should be looked at."""
    return Finding(check, "warn", seen, remedy, data)


def fail(check: str, seen: str, remedy: str, **data: Any) -> Finding:
    """Something is wrong."""
    return Finding(check, "fail", seen, remedy, data)
