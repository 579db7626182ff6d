import io
import json
import logging
import sys
from datetime import UTC, datetime, timedelta

from ranker.telemetry.logs import JsonFormatter, make_extra


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
    logger(log).warning("first\nsecond %r", "x", extra=make_extra("r1", None, rows=3))
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
