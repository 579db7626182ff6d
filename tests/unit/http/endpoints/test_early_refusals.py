"""What a request without room is told, and that it is counted."""

from __future__ import annotations

from typing import Any

import orjson
from prometheus_client import REGISTRY

from ranker import errors
from ranker.http.endpoints.early_refusals import EarlyRefusals
from ranker.http.statuses import RETRY_AFTER_S
from ranker.scheduling.admission import ADJUST_S, Admission
from ranker.telemetry.metrics import Recorder
from tests.support.sample import run

ROW_BYTES = 16
REFUSED = ("ranker_requests_total", {"outcome": "overloaded"})


class Worker:
    """As much of one as refusing takes: ninety of a hundred rows are in flight."""

    def __init__(self) -> None:
        self.admission = Admission(100, target_s=0.1)
        self.admission.enter(90, 90 * ROW_BYTES)
        self.recorder = Recorder()


def said(answer: bytes) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nretry-after: %d\r\n" % RETRY_AFTER_S in head
    assert b"\r\nserver-timing: total;dur=0.000\r\n" in head
    assert b"\r\ncontent-length: %d\r\ndate: " % len(body) in head
    read: dict[str, Any] = orjson.loads(body)
    return read


def test_what_has_no_room_is_told_the_limit_of_the_moment() -> None:
    async def test() -> None:
        worker = Worker()
        refusals = EarlyRefusals(worker.admission, worker.recorder)
        expected = {"error": str(errors.Overloaded(100)), "error_type": "overloaded", "requestId": None}
        assert [said(refusals.refuse()) for _ in range(2)] == [expected, expected]

        assert not worker.admission.expect(20 * ROW_BYTES)
        worker.admission.leave(1, late_after_s=1.0)
        worker.admission.adjust_once(ADJUST_S)
        assert worker.admission.limit < 100
        expected["error"] = str(errors.Overloaded(worker.admission.limit))
        assert said(refusals.refuse()) == expected

    run(test)


def test_each_refusal_is_counted() -> None:
    async def test() -> None:
        worker = Worker()
        refusals = EarlyRefusals(worker.admission, worker.recorder)
        worker.recorder.flush()
        before = REGISTRY.get_sample_value(*REFUSED) or 0
        for _ in range(3):
            said(refusals.refuse())
        worker.recorder.flush()
        assert REGISTRY.get_sample_value(*REFUSED) == before + 3

    run(test)
