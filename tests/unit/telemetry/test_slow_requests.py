import logging

import pytest

from ranker.api.predict import PredictRequest
from ranker.scheduling.batching import Call
from ranker.telemetry.metrics import Recorder
from ranker.telemetry.observer import Observer
from ranker.telemetry.slow_requests import LINES_PER_INTERVAL, SlowRequests
from ranker.vectors.rows import Reading
from tests.unit.telemetry.metrics.test_recorder import answer, sample

TRACE = "0af7651916cd43dd8448eb211c80319c"
REQUEST = PredictRequest(requestId="r\n1", userId="u", productIds=["p"])
HEADERS = {b"traceparent": f"00-{TRACE}-b7ad6b7169203331-01".encode()}


def observer(slow_ms: float) -> Observer:
    return Observer(Recorder(), SlowRequests(slow_ms), None)


def test_slow_answer_is_logged_with_stages_sizes_hits_and_trace(caplog: pytest.LogCaptureFixture) -> None:
    made = answer()._replace(call=Call(4, 250))
    made.features.held, made.features.reading = 2, Reading(0.0005, 3, 90)
    observed = observer(4.0)
    assert observed.answered(HEADERS, REQUEST, made, 0.0041).startswith(b"fetch;dur=1.000, ")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "\n" not in record.getMessage()
    assert "'r\\n1'" in record.getMessage()
    fields = record.fields  # type: ignore[attr-defined]  # set by `extra`
    assert (fields["request_id"], fields["trace_id"]) == ("r\n1", TRACE)
    assert (fields["total_ms"], fields["decode_ms"], fields["score_ms"]) == (4.1, 0.5, 2.0)
    assert {k: fields[k] for k in ("products", "cache_hits", "keys_read", "batch_requests", "batch_rows")} == {
        "products": 3,
        "cache_hits": 2,
        "keys_read": 90,
        "batch_requests": 4,
        "batch_rows": 250,
    }


@pytest.mark.parametrize("slow_ms", [0, 5])
def test_answer_that_is_not_slow_is_not_logged(slow_ms: float, caplog: pytest.LogCaptureFixture) -> None:
    observer(slow_ms).answered({}, REQUEST, answer(), 0.0041)
    assert caplog.records == []


def test_many_slow_answers_make_few_lines_and_all_count(caplog: pytest.LogCaptureFixture) -> None:
    observed = observer(1)
    observed.report()
    before = sample("ranker_slow_requests_total")
    for _ in range(LINES_PER_INTERVAL + 7):
        observed.answered({}, REQUEST, answer(), 0.0041)
    assert len(caplog.records) == LINES_PER_INTERVAL
    observed.report()
    assert caplog.messages[-1] == "7 more slow requests were only counted"
    assert sample("ranker_slow_requests_total") - before == LINES_PER_INTERVAL + 7
    observed.answered({}, REQUEST, answer(), 0.0041)
    observed.report()
    assert len(caplog.records) == LINES_PER_INTERVAL + 2  # the interval began anew, and left none out
