"""Unquoted text: what YAML makes a number, a date or a boolean of, where a schema wants text.

Owns the words that say how it stays text. Knows nothing of features.
"""

from __future__ import annotations

from datetime import date
from typing import Any

_Unquoted = bool | int | float | date | None
"""Values that YAML makes of a name without quotes."""


def describe(value: Any) -> Any:
    """Let a name stand for a feature that has nothing else to say."""
    return {"name": value} if isinstance(value, str | _Unquoted) else value


def require_text(value: Any) -> Any:
    """Refuse what YAML made no text of, in words that say how it stays one."""
    if isinstance(value, _Unquoted):
        raise ValueError(f"put quotes round it, for YAML reads {_reading(value)}")
    return value


def require_text_keys(value: Any) -> Any:
    """Refuse keys that YAML made no text of."""
    unquoted = [key for key in value if isinstance(key, _Unquoted)] if isinstance(value, dict) else []
    if unquoted:
        raise ValueError(f"put quotes round each key, for YAML reads {_reading(unquoted[0])}")
    return value


def _reading(value: _Unquoted) -> str:
    """Say what YAML takes for a value, the word for which is gone."""
    if isinstance(value, bool):
        return "on, yes and true as a boolean" if value else "off, no and false as a boolean"
    if value is None:
        return "null, ~ and nothing at all as no value"
    return f"it as the date {value}" if isinstance(value, date) else f"it as the number {value}"


def require_texts(value: Any) -> Any:
    """Refuse a list in which something is no text."""
    unquoted = [text for text in value if not isinstance(text, str)] if isinstance(value, list | tuple) else []
    if unquoted:
        raise ValueError(f"put quotes round each text, for YAML reads {_reading(unquoted[0])}")
    return value
