"""API worker: the parts of the request path put together, and taken apart again.

Owns who is let in, for how long, and when the worker is ready. Knows nothing of HTTP or BentoML: how scores are had is
handed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
from ranker.ranking.job import Budget, Job, Policy
from ranker.ranking.rounds.entry import settle
from ranker.scheduling.admission import Admission
from ranker.serving.observation import make_observer
from ranker.serving.rollout import Models, Rollout
from ranker.serving.variant import ServedModel, Variant
from ranker.serving.warm_up import warm_up
from ranker.settings.environment import Settings
from ranker.telemetry import metrics
from ranker.telemetry.tracing import Spans

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
        self.observer = make_observer(settings, schemas, self.recorder, spans)
        self._collector = CollectorWatch(self.recorder.gc_pause)
        self.admission = Admission(settings.max_in_flight_rows, QUEUE_SHARE * settings.deadline_ms / 1000)
        self.draining = False
        self._warm = False
        self._deadline_s = settings.deadline_ms / 1000
        self._drain_s = settings.drain_s
        self._warm_products = settings.warm_products
        policy = Policy(self._deadline_s, settings.on_failure, settings.missing_user, settings.missing_product)
        models = Models(model, canary, shadow)
        self._rollout = Rollout(models, settings, policy, self.recorder, lambda: self.admission.crowded)
        self.recorder.sources.watch_rows(lambda: self.admission.rows)
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
        """Answer one checked request, and wait for it: `begin` with a future.

        Raises:
            Overloaded, InvalidRequest: as `begin` does.
            UnknownUser, DependencyError, ModelError: as the policy says.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        job = self.begin(request, partial(settle, future), body_bytes, arrived, deadline_s)
        try:
            return await future
        finally:
            self.abandon(job)

    def begin(
        self,
        request: PredictRequest,
        done: Callable[[Answer | BaseException], None],
        body_bytes: int = 0,
        arrived: float | None = None,
        deadline_s: float | None = None,
    ) -> Job:
        """Admit one checked request and have it ranked, in one round with all that begin in this turn of the loop.

        A request whose rows are held costs no task, future or timer. Left to the caller is what needs the answer's
        bytes: to make them, and to tell `observer`.

        Args:
            request: The request.
            done: Told the answer, or the exception why there is none, once, unless the job is abandoned: never before
                this returns, nothing where this raises, `CancelledError` when the worker stops. It must not raise.
            body_bytes: How long the body was; 0 where there was none.
            arrived: When it arrived, by `time.monotonic`, for what it has waited counts; now when None.
            deadline_s: Seconds its caller waits in all, where that is less than the settings say.

        Returns:
            What `abandon` takes.

        Raises:
            Overloaded: too many rows are in flight.
            InvalidRequest: its context is not what the model takes.
        """
        rows = len(request.productIds)
        variant = self._rollout.variant_for(request)
        self.admission.enter(rows, body_bytes)
        budget = Budget(monotonic() if arrived is None else arrived, self.allowed_s(deadline_s))
        try:
            return variant.begin(request, budget, partial(self._ended, request, variant, budget, done))
        except BaseException:
            self.admission.leave(rows)
            raise

    def abandon(self, job: Job) -> None:
        """Drop a job that nobody waits for any more; nothing when its caller was told, or it is abandoned already."""
        if not job.over:
            job.abandon()
            self.admission.leave(job.rows)

    def _ended(
        self,
        request: PredictRequest,
        variant: Variant,
        budget: Budget,
        done: Callable[[Answer | BaseException], None],
        outcome: Answer | BaseException,
    ) -> None:
        """Let a request's rows leave, and tell whoever waits."""
        rows = len(request.productIds)
        if not isinstance(outcome, Answer):
            late = isinstance(outcome, DeadlineExceeded) and outcome.stage == "score"
            self.admission.leave(rows, late_after_s=budget.allowed_s if late else 0.0)
        else:
            reason = outcome.degraded_reason
            late_after_s = budget.allowed_s if reason == "scores_late" else 0.0
            ranked = reason not in ("scores_late", "scores_unavailable")
            self.admission.leave(rows, ranked=ranked, late_after_s=late_after_s)
            if self._rollout.shadow is not None and variant is self._rollout.main:
                self._rollout.shadow.offer(request, outcome)
        done(outcome)

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
            return await self._rollout.variant_for(request).explain(request, budget)
        finally:
            self.admission.leave(rows)

    def model_for(self, request: PredictRequest) -> str:
        """Return the tag of the model that ranks for a request."""
        return self._rollout.variant_for(request).tag

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
        if self._rollout.shadow is not None:
            self._tasks.append(background.keep("shadow", self._rollout.shadow.run, needed=False))
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
        await self._rollout.close()
        await self.observer.close()

    async def _warm_up(self) -> None:
        await warm_up(self._rollout.ranking, self._warm_products)
        freeze()
        self._warm = True

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(metrics.FLUSH_INTERVAL_S)
            self.observer.report()
