"""Observer of finished requests: reports them to metrics, logs of slow and of failed ones, traces, feature log.

Owns no measurement: what it hands on was noted on the way.
"""

from __future__ import annotations

import asyncio

from ranker.api.headers import Headers, trace_id
from ranker.api.predict import PredictRequest
from ranker.ranking.answer import Answer
from ranker.telemetry.failure_log import FailureLog
from ranker.telemetry.feature_log.log import FeatureLog
from ranker.telemetry.metrics import Recorder
from ranker.telemetry.slow_requests import SlowRequests
from ranker.telemetry.tracing import Spans


class Observer:
    """Reports the finished requests of one worker.

    Args:
        recorder: What counts.
        slow: What logs the slow ones.
        spans: What traces; None where traces go nowhere.
        feature_log: What keeps what was served; None for none.
    """

    def __init__(
        self, recorder: Recorder, slow: SlowRequests, spans: Spans | None, feature_log: FeatureLog | None = None
    ) -> None:
        self._recorder = recorder
        self._slow = slow
        self._spans = spans
        self._feature_log = feature_log
        self._failures = FailureLog()

    def start(self) -> None:
        """Begin to write the feature log."""
        if self._feature_log is not None:
            self._feature_log.start()

    def answered(self, headers: Headers, request: PredictRequest, answer: Answer, rendered: float) -> bytes:
        """Tell of an answer whose bytes were made at `rendered`, by `time.monotonic`; return its `Server-Timing`."""
        timings, request_id = answer.timings(rendered), request.requestId
        self._recorder.answer(answer, timings)
        trace = None if self._spans is None else self._spans.answered(headers, request_id, answer, rendered)
        if timings.total >= self._slow.slow_s:
            self._slow.note(timings, answer, request_id, trace or trace_id(headers))
            self._recorder.slow()
        if answer.failures or not answer.finite:
            self._failures.note(answer, answer.model, request_id, trace or trace_id(headers))
        if self._feature_log is not None:
            self._feature_log.offer(request, answer.model, answer, timings)
        return timings.to_header()

    def failed(self, headers: Headers, request_id: str | None, arrived: float, status: int, error_type: str) -> None:
        """Tell of an answer that is an error."""
        self._recorder.error(error_type)
        if self._spans is not None:
            self._spans.failed(headers, request_id, arrived, status, error_type)

    def report(self) -> None:
        """Tell what is told once an interval."""
        self._slow.report()
        if self._feature_log is not None:
            self._feature_log.report()
        self._recorder.flush()

    async def close(self) -> None:
        """Let go of the last traces and records, at the same time."""
        await asyncio.gather(*(part.close() for part in (self._spans, self._feature_log) if part is not None))
