import io
import json
import logging
import sys
from datetime import UTC, datetime, timedelta

import pytest

from ranker.process.log_limit import Seldom
from ranker.telemetry.logs import JsonFormatter, fields


def lines(log: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def logger(log: io.StringIO) -> logging.Logger:
    made = logging.Logger("ranker.test")
    handler = logging.StreamHandler(log)
    handler.setFormatter(JsonFormatter())
    made.addHandler(handler)
    return made


def test_each_record_is_one_object_with_what_it_is_about() -> None:
    log = io.StringIO()
    logger(log).warning("first\nsecond %r", "x", extra=fields("r1", None, rows=3))
    (line,) = lines(log)
    assert line["message"] == "first\nsecond 'x'"
    assert (line["level"], line["logger"], line["request_id"], line["rows"]) == ("warning", "ranker.test", "r1", 3)
    assert "trace_id" not in line
    age = datetime.now(UTC) - datetime.fromisoformat(str(line["time"]))
    assert timedelta(0) <= age + timedelta(milliseconds=1) < timedelta(minutes=1)


def test_exceptions_and_what_is_no_unicode_do_not_break_the_line() -> None:
    log = io.StringIO()
    try:
        raise ValueError("broken")
    except ValueError:
        logger(log).error("half \ud800 of a pair %s", object(), exc_info=sys.exc_info(), extra={"fields": {"at": UTC}})
    (line,) = lines(log)
    assert "ValueError: broken" in str(line["exception"])
    assert line["at"] == "UTC"


def test_one_line_of_a_kind_is_due_in_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("ranker.process.log_limit.monotonic", lambda: now)
    seldom = Seldom(10.0)
    assert seldom.due("a")
    assert seldom.due("b"), "each kind has an interval of its own"
    now = 109.9
    assert not seldom.due("a")
    now = 110.0
    assert seldom.due("a")
    assert not seldom.due("a")
