"""Log lines as JSON objects, for those who collect them.

Owns their form; not what is logged, how often, or where it goes.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, Literal

import orjson


def make_extra(request_id: str | None, trace_id: str | None, **more: Any) -> dict[str, Any]:
    """Return what to give a logger as `extra`, for a line about one request; what is None is left out."""
    values = {"request_id": request_id, "trace_id": trace_id, **more}
    return {"fields": {name: value for name, value in values.items() if value is not None}}


class JsonFormatter(logging.Formatter):
    """Renders a record as one line: time, level, logger, process, message, its `fields`, and its exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # What another library logs may hold half of a surrogate pair, which is no Unicode.
        return orjson.dumps({k: _clean(v) for k, v in line.items()}, default=str).decode()


def install(form: Literal["text", "json"]) -> None:
    """Have every handler of this process write such lines; `text` leaves them as they are."""
    if form == "text":
        return
    loggers = [logging.root, *map(logging.getLogger, logging.root.manager.loggerDict)]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        handler.setFormatter(JsonFormatter())


def _clean(value: Any) -> Any:
    return value.encode(errors="replace").decode() if isinstance(value, str) else value
