"""What is told of each request once it is over, and to whom: metrics, the log where it was slow, traces where they go.

Owns no measurement: what it hands on was noted on the way.
"""

from __future__ import annotations

from ranker.metrics import Recorder
from ranker.pipeline import Answer
from ranker.slow import SlowRequests
from ranker.tracing import Headers, Spans, trace_id


class Observer:
    """Tells of the requests of one worker.

    Args:
        recorder: What counts.
        slow: What logs the slow ones.
        spans: What traces; None where traces go nowhere.
    """

    def __init__(self, recorder: Recorder, slow: SlowRequests, spans: Spans | None) -> None:
        self._recorder = recorder
        self._slow = slow
        self._spans = spans

    def answered(self, headers: Headers, request_id: str, answer: Answer, rendered: float) -> str:
        """Tell of an answer whose bytes were made at `rendered`, by `time.monotonic`; return its `Server-Timing`."""
        timings = answer.timings(rendered)
        self._recorder.answer(answer, timings)
        trace = None if self._spans is None else self._spans.answered(headers, request_id, answer, rendered)
        if timings.total >= self._slow.slow_s:
            self._slow.note(timings, answer, request_id, trace or trace_id(headers))
            self._recorder.slow()
        return timings.header()

    def failed(self, headers: Headers, request_id: str | None, arrived: float, status: int, error_type: str) -> None:
        """Tell of an answer that is an error."""
        self._recorder.error(error_type)
        if self._spans is not None:
            self._spans.failed(headers, request_id, arrived, status, error_type)

    def report(self) -> None:
        """Tell what is told once an interval."""
        self._slow.report()
        self._recorder.flush()

    async def close(self) -> None:
        """Let go of the last traces."""
        if self._spans is not None:
            await self._spans.close()
