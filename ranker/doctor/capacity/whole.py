"""Cost of a whole request, socket to socket, in each state of the cache: the real route and the real worker.

In the service shape the runner is a thread of this process, so its time can be told from the API worker's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ranker.api.predict import PredictRequest
from ranker.doctor.capacity.figures import STATES, State
from ranker.doctor.capacity.loopback import Exchanged, measure
from ranker.doctor.capacity.requests import body, warming
from ranker.doctor.capacity.runner import running
from ranker.http.endpoints.intake import Intake
from ranker.http.endpoints.lane import Lane
from ranker.http.endpoints.predict import PredictEndpoint
from ranker.http.exchange import Exchange
from ranker.http.gate import Gate
from ranker.ranking.answer import Answer
from ranker.ranking.job import Job
from ranker.scoring.loaded import LoadedModel
from ranker.serving.runner import make_channel_client, make_scorer
from ranker.serving.variant import ServedModel
from ranker.serving.worker import Worker
from ranker.settings.environment import Settings
from ranker.vectors.schema import FeatureSchema

DEADLINE_S = 30.0
"""Deadline of what is measured, in seconds: with so many requests in flight a slow model passes any that is set."""
UNBOUNDED = 1 << 40
"""Limit that refuses nothing, for it is the cost of answers that is measured."""
READY_S, READY_POLL_S = 30.0, 0.01
NEVER_S, AT_ONCE_S = 3600.0, 1e-9
"""Times to live: longer than any measurement, and over before the next request."""
TTLS: dict[State, dict[str, float]] = {
    "all cached": {"cache_ttl_s": NEVER_S, "cache_user_ttl_s": NEVER_S},
    "user read": {"cache_ttl_s": NEVER_S, "cache_user_ttl_s": AT_ONCE_S},
    "all read": {"cache_ttl_s": AT_ONCE_S, "cache_user_ttl_s": AT_ONCE_S},
}
"""Ways to keep a cache in each state."""


async def measure_wholes(
    settings: Settings,
    model: LoadedModel,
    requests: Sequence[PredictRequest],
    budget_s: float,
    states: Sequence[State] = STATES,
) -> dict[State, Exchanged]:
    """Measure for about `budget_s` seconds in each state.

    Raises:
        RankerError: Redis, the model or the runner's thread failed.
        OSError: there is no loopback here, or the worker does not get ready.
    """
    wholes: dict[State, Exchanged] = {}
    bodies = [body(request) for request in requests]
    for state in states:
        changed: dict[str, Any] = {
            "deadline_ms": DEADLINE_S * 1000,
            "on_failure": "error",
            "missing_user": "default",
            "cache_tracking": "off",  # changes made meanwhile do not matter here
            "warm_products": None,
            "canary_model": None,
            "shadow_model": None,
            "feature_log": None,  # what nobody was served
            "max_in_flight_rows": UNBOUNDED,
            "max_body_bytes": UNBOUNDED,
        }
        state_settings = settings.model_copy(update=changed | TTLS[state])
        async with _scoring(settings, model) as scoring:
            served = _Served(_Worker(state_settings, scoring), state_settings)
            served.worker.start()
            try:
                await _until_ready(served.worker)
                for request in warming(requests):
                    await served.worker.rank(request)
                wholes[state] = await measure(served, bodies, budget_s)
            finally:
                await served.worker.stop()
    return wholes


class _Served(PredictEndpoint):
    """The endpoint with a worker behind it, and the lane beside it."""

    def __init__(self, worker: _Worker, settings: Settings) -> None:
        exchange = Exchange(settings.max_body_bytes, settings.read_timeout_s)
        intake, gate = Intake(settings.max_products, "name:version"), Gate({})
        super().__init__(lambda: worker, gate, exchange, "name:version", intake)
        self.worker = worker
        self.lane = Lane(worker, intake, gate, settings.max_body_bytes)

    @property
    def failure(self) -> BaseException | None:
        return self.worker.failure


class _Worker(Worker):
    """Keeps the failure that the caller is not told."""

    failure: BaseException | None = None

    def begin(
        self, request: PredictRequest, done: Callable[[Answer | BaseException], None], *rest: Any, **named: Any
    ) -> Job:
        def keep(outcome: Answer | BaseException) -> None:
            if isinstance(outcome, BaseException):
                self.failure = outcome
            done(outcome)

        return super().begin(request, keep, *rest, **named)


async def _until_ready(worker: Worker) -> None:
    deadline = time.monotonic() + READY_S
    while not worker.ready:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the worker was not ready in {READY_S:g} s")
        await asyncio.sleep(READY_POLL_S)


def _without_own_ttls(schema: FeatureSchema) -> FeatureSchema:
    """Return a schema whose groups are kept as long as users and products are, which the states decide."""
    if all(group.ttl_s is None for group in schema.keyed.values()):
        return schema
    data = schema.to_metadata()
    for name in schema.keyed:
        data["groups"][name].pop("ttl_s", None)
    return FeatureSchema.from_mapping(data)


@asynccontextmanager
async def _scoring(settings: Settings, model: LoadedModel) -> AsyncIterator[ServedModel]:
    """Yield the model with the way to it that is set: a runner in a thread, or the loop that asks."""
    products = None if model.split is None else model.split.products
    schema = _without_own_ttls(model.schema)
    if settings.runner == "local":
        scorer = make_scorer("model", model)
        try:
            yield ServedModel("name:version", schema, scorer.begin, products)
        finally:
            scorer.close()
        return
    with running(model, settings.max_batch_rows) as path:
        channel = make_channel_client(path, model.schema, products, settings.max_batch_rows, DEADLINE_S)
        try:
            yield ServedModel("name:version", schema, channel.begin, products)
        finally:
            channel.close()
            await asyncio.sleep(0)  # a turn in which the connection ends
