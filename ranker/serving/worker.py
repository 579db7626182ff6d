"""API worker: the parts of the request path put together, and taken apart again.

Owns which models rank which requests, and when the worker is ready. Knows nothing of HTTP or BentoML: how scores are
had is handed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from time import monotonic

from ranker.api.explain import ExplainRequest
from ranker.api.predict import PredictRequest
from ranker.errors import DeadlineExceeded
from ranker.process import background
from ranker.process.memory import freeze, keep_freed_memory
from ranker.process.stalls import CollectorWatch, watch_loop
from ranker.ranking.answer import Answer
from ranker.ranking.explain.explainer import CHUNK_ROWS, Explanation
from ranker.ranking.job import Budget, Policy
from ranker.scheduling.admission import Admission
from ranker.scheduling.sampling import Split
from ranker.scheduling.turns import Turns
from ranker.serving.shadow import Shadow
from ranker.serving.variant import ServedModel, Variant
from ranker.serving.warm_up import warm_up
from ranker.settings.destination import Folder
from ranker.settings.environment import Settings
from ranker.telemetry import metrics
from ranker.telemetry.feature_log.log import FeatureLog, Sink
from ranker.telemetry.observer import Observer
from ranker.telemetry.slow_requests import SlowRequests
from ranker.telemetry.tracing import Spans
from ranker.vectors.schema import FeatureSchema

REQUESTS_PER_ROUND = 16
"""Requests that begin in one round of the event loop: some 3 ms of work with 100 products each. Fewer make what waits
for Redis quicker and cost throughput; more hold up timers and health checks."""
MOST_PER_ROUND = 48
"""Where requests were refused in it: some 10 ms of rankings, so that refusing those who ask again at once does not take
most of the time."""
LONG_AT_A_TIME = 1
"""Two would score a sixth more rows a second with the runner service, and make short requests wait twice as long."""
QUEUE_SHARE = 0.5
"""The part of the deadline that answers may take, on average, under pressure."""


class Worker:
    """API worker: ranks in one process.

    Args:
        settings: As read from the environment.
        model: What ranks.
        canary: What ranks for the canary's part of the users.
        shadow: What ranks a sample again.
        spans: Where traces go; nowhere when None.

    Attributes:
        admission: How much is in flight.
        observer: Who is told of each request that is over.
        recorder: What happens here, for the metrics.
        turns: Who begins when.
        draining: Whether the worker was told to end.
    """

    def __init__(
        self,
        settings: Settings,
        model: ServedModel,
        canary: ServedModel | None = None,
        shadow: ServedModel | None = None,
        spans: Spans | None = None,
    ) -> None:
        self.recorder = metrics.Recorder()
        schemas = {served.tag: served.schema for served in (model, canary) if served is not None}
        log = open_log(settings, schemas)
        if log is not None:
            self.recorder.watch_feature_log(log)
        self.observer = Observer(self.recorder, SlowRequests(settings.slow_ms), spans, log)
        self.turns = Turns(REQUESTS_PER_ROUND, LONG_AT_A_TIME, MOST_PER_ROUND)
        self._collector = CollectorWatch(self.recorder.gc_pause)
        self.admission = Admission(settings.max_in_flight_rows, QUEUE_SHARE * settings.deadline_ms / 1000)
        self.draining = False
        self._warm = False
        self._deadline_s = settings.deadline_ms / 1000
        self._drain_s = settings.drain_s
        self._warm_products = settings.warm_products
        policy = Policy(self._deadline_s, settings.on_failure, settings.missing_user, settings.missing_product)
        self._main = Variant(model, settings, policy, self.recorder)
        self._canary: Variant | None = None
        self._shadow: Shadow | None = None
        if canary is not None:
            self._canary = Variant(canary, settings, policy, self.recorder)
            self._split = Split(canary.tag, settings.canary_percent)
        if shadow is not None:
            raising = Policy(on_failure="error")
            seen_by_nobody = metrics.Recorder()
            variant = Variant(shadow, settings, raising, seen_by_nobody, connections=1)
            self._shadow = Shadow(variant, settings.shadow_percent, self.recorder, lambda: self.admission.crowded)
        for served in (model, canary, shadow):
            if served is not None:
                self.recorder.model(served.tag, served.schema.fingerprint, settings.runner)
        self.recorder.watch_rows(lambda: self.admission.rows)
        self.recorder.watch_waiting({"turn": lambda: self.turns.waiting})
        for variant in self._ranking:
            self.recorder.watch_waiting(variant.waiting)
        self._chunk_rows = min(CHUNK_ROWS, settings.max_in_flight_rows)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """Whether the worker has warmed up, all it needs goes on, and it was not told to end."""
        return self._warm and not self.draining and not background.stuck()

    def allowed_s(self, deadline_s: float | None) -> float:
        """Return the seconds a request may take, given how long its caller waits."""
        return self._deadline_s if deadline_s is None else min(deadline_s, self._deadline_s)

    async def rank(
        self,
        request: PredictRequest,
        body_bytes: int = 0,
        arrived: float | None = None,
        deadline_s: float | None = None,
    ) -> Answer:
        """Admit and answer one checked request; the observer is told by whoever makes bytes of the answer.

        Args:
            request: The request.
            body_bytes: How long it was.
            arrived: When it arrived, by `time.monotonic`, for what it has waited counts; now when None.
            deadline_s: Seconds its caller waits in all, where that is less than the settings say.

        Raises:
            Overloaded: too many rows are in flight.
            InvalidRequest: its context is not what the model takes.
            UnknownUser, DependencyError, ModelError: as the policy says.
        """
        rows = len(request.productIds)
        variant = self._variant_for(request.userId)
        self.admission.enter(rows, body_bytes)
        budget = Budget(monotonic() if arrived is None else arrived, self.allowed_s(deadline_s))
        ranked, late_after_s = False, 0.0
        try:
            answer = await variant.rank(request, budget)
            if answer.degraded_reason == "scores_late":
                late_after_s = budget.allowed_s
            else:
                ranked = answer.degraded_reason != "scores_unavailable"
        except DeadlineExceeded as err:
            late_after_s = budget.allowed_s if err.stage == "score" else 0.0
            raise
        finally:
            self.admission.leave(rows, ranked=ranked, late_after_s=late_after_s)
        self.recorder.ranked_by(variant.tag)
        if self._shadow is not None and variant is self._main:
            self._shadow.offer(request, answer)
        return answer

    async def explain(
        self, request: ExplainRequest, arrived: float | None = None, deadline_s: float | None = None
    ) -> Explanation:
        """Admit and explain one checked request; it is not counted as a ranking.

        Raises:
            Overloaded, InvalidRequest, UnknownUser, DependencyError, ModelError: as `rank` does.
        """
        rows = max(len(request.productIds), self._chunk_rows)
        self.admission.enter(rows, 0)
        budget = Budget(monotonic() if arrived is None else arrived, self.allowed_s(deadline_s))
        try:
            return await self._variant_for(request.userId).explain(request, budget)
        finally:
            self.admission.leave(rows)

    def model_for(self, user_id: str) -> str:
        """Return the tag of the model that ranks for a user."""
        return self._variant_for(user_id).tag

    def start(self) -> None:
        """Begin to warm up, to report, and to watch what holds up the loop."""
        keep_freed_memory()
        self._tasks = [
            background.keep("warm-up", self._warm_up),
            background.keep("admission", self.admission.adjust),
            # Callers do not notice when these stand still.
            background.keep("report", self._report, needed=False),
            background.keep("loop watch", partial(watch_loop, self.recorder.loop_lag), needed=False),
        ]
        if self._shadow is not None:
            self._tasks.append(background.keep("shadow", self._shadow.run, needed=False))
        self._collector.start()
        self.observer.start()

    async def drain(self) -> None:
        """Say that this worker is not ready, and go on for as long as balancers may take to notice."""
        self.draining = True
        await asyncio.sleep(self._drain_s)

    async def stop(self) -> None:
        """Cancel what is in progress, and let go of Redis."""
        for task in self._tasks:
            task.cancel()
        self._collector.stop()
        for part in (*self._ranking, self._shadow):
            if part is not None:
                await part.close()
        await self.observer.close()

    @property
    def _ranking(self) -> tuple[Variant, ...]:
        """The variants that callers wait for."""
        return (self._main,) if self._canary is None else (self._main, self._canary)

    def _variant_for(self, user_id: str) -> Variant:
        if self._canary is not None and self._split.takes(user_id):
            return self._canary
        return self._main

    async def _warm_up(self) -> None:
        await warm_up(self._ranking, self._warm_products)
        freeze()
        self._warm = True

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(metrics.FLUSH_INTERVAL_S)
            self.observer.report()


def open_log(settings: Settings, schemas: Mapping[str, FeatureSchema]) -> FeatureLog | None:
    """Return the feature log that is set, not started yet; None when there is none."""
    destination = settings.feature_log_destination
    if destination is None:
        return None
    sink: Sink
    if isinstance(destination, Folder):
        # Imported late: pyarrow is an extra.
        from ranker.telemetry.feature_log.parquet import ParquetSink

        sink = ParquetSink(destination.path, settings.feature_log_file_mb << 20, settings.feature_log_file_s)
    else:
        from ranker.telemetry.feature_log.stream import StreamSink

        sink = StreamSink(destination, settings.feature_log_stream_records)
    return FeatureLog(sink, destination.where, settings.feature_log_percent, schemas, settings.missing_product)
