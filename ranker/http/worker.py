"""API worker, as far as HTTP needs one: ranks and explains in this process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from ranker.api.explain import ExplainRequest
from ranker.api.predict import PredictRequest
from ranker.ranking.answer import Answer
from ranker.ranking.explain.explainer import Explanation
from ranker.ranking.job import Job
from ranker.scheduling.admission import Admission
from ranker.telemetry.metrics import Recorder
from ranker.telemetry.observer import Observer


class Worker(Protocol):
    """API worker: ranks and explains in this process."""

    admission: Admission
    observer: Observer
    recorder: Recorder
    draining: bool

    def allowed_s(self, deadline_s: float | None) -> float:
        """Return the seconds that a request may take whose caller waits for `deadline_s`."""

    def model_for(self, request: PredictRequest) -> str:
        """Return the tag of the model that ranks for a request."""

    def begin(
        self,
        request: PredictRequest,
        done: Callable[[Answer | BaseException], None],
        body_bytes: int,
        arrived: float,
        deadline_s: float | None,
    ) -> Job:
        """Have one checked request ranked; `done` is told the answer or the error, once, after this has returned."""

    def abandon(self, job: Job) -> None:
        """Drop what was begun and nobody waits for any more."""

    def rank(
        self, request: PredictRequest, body_bytes: int, arrived: float, deadline_s: float | None
    ) -> Awaitable[Answer]:
        """Answer one checked request that arrived at a time of `time.monotonic`."""

    def explain(self, request: ExplainRequest, arrived: float, deadline_s: float | None) -> Awaitable[Explanation]:
        """Explain one checked request that arrived at a time of `time.monotonic`."""
