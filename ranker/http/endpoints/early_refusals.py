"""Early refusals: 429 for ranking requests that find no room, before they are parsed.

Owns those bytes; who finds no room, `admission` says, and what a ranking request looks like, `protocol`.
"""

from __future__ import annotations

from ranker import errors
from ranker.api.error import render_error
from ranker.http.date import date_line
from ranker.http.statuses import RETRY_AFTER_S, STATUSES
from ranker.ranking.timings import total_header
from ranker.scheduling.admission import Admission
from ranker.telemetry.metrics import Recorder

AT_ONCE = total_header(0)


class EarlyRefusals:
    """Answers ranking requests that find no room.

    Args:
        admission: Says how much room there is, for the answer.
        recorder: Counts them.
    """

    def __init__(self, admission: Admission, recorder: Recorder) -> None:
        self._admission = admission
        self._recorder = recorder
        self._status, self._error_type = STATUSES[errors.Overloaded]
        self._made_for = (-1, b"")
        self._answer = b""

    def refuse(self) -> bytes:
        """Return the whole response to a request for which there is no room, and count it."""
        self._recorder.error(self._error_type)
        made_for = (self._admission.limit, date_line())  # they change eleven times a second at most
        if self._made_for != made_for:
            self._made_for = made_for
            self._answer = self._made(*made_for)
        return self._answer

    def _made(self, limit: int, date: bytes) -> bytes:
        body = render_error(str(errors.Overloaded(limit)), self._error_type, None)
        lines = (b"content-type: application/json", b"retry-after: %d" % RETRY_AFTER_S, b"server-timing: " + AT_ONCE)
        head = b"\r\n".join((b"HTTP/1.1 %d " % self._status, *lines, b"content-length: %d" % len(body)))
        return b"%b\r\n%b\r\n%b" % (head, date, body)
