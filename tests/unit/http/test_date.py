"""Date of a response: as RFC 9110 writes it, of this second, and on refusals of what is no request, too."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

import pytest

from ranker.http import date
from ranker.http.connection.conversation import Refused


def test_date_is_this_seconds_and_never_an_older_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(date, "time", lambda: 784111777.9)
    assert date.date_line() == b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"  # the RFC's example
    monkeypatch.setattr(date, "time", lambda: 784111778.0)
    assert date.date_line() == b"date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"


def test_refusal_of_what_is_no_request_has_a_date() -> None:
    head = Refused("400 Bad Request", "What arrived is no valid HTTP request.", "invalid_http").answer
    (written,) = re.findall(rb"\r\ndate: ([^\r]+)\r\n", head)
    assert abs(parsedate_to_datetime(written.decode()).timestamp() - time.time()) < 60
