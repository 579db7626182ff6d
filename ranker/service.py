"""The BentoML shell: two services, one that scores and one that ranks.

Here what the packages do meets processes and sockets. `ranker.http.app` answers `POST /predict` and `/explain` in front
of BentoML's middlewares and endpoints: the same methods, schemas and client, without the framework's share of the time.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import bentoml
import numpy as np
from bentoml import get_current_service, serving  # each look at the first through the module takes 3 us
from bentoml.exceptions import UnprocessableEntity
from bentoml.validators import ContentType
from starlette.types import ASGIApp

from ranker import __version__, image
from ranker.api.explain import ExplainRequest, Explanation
from ranker.api.predict import PredictRequest, PredictResponse
from ranker.doctor.keyspace import stored_ids
from ranker.errors import ModelError
from ranker.http import app
from ranker.http.connection import protocol
from ranker.http.endpoints import direct
from ranker.process import membership, supervision
from ranker.scoring.channel.server import reason_of
from ranker.scoring.registry import StoredModel, load_model, schema_of
from ranker.serving import bento_folders, preflight, runner, startup
from ranker.serving.worker import Worker
from ranker.telemetry import logs, tracing
from ranker.telemetry.metrics.dead import merge_dead

with startup.ending_with_one_message():
    SETTINGS, MODELS = startup.read(os.environ, Path(__file__).resolve().parents[1])
logs.install(SETTINGS.log_format)
FRONT = app.Front(SETTINGS, MODELS.main.tag)
bento_folders.keep_metrics_apart()
QUIET = startup.quiet(SETTINGS)
Pickled = Annotated[np.ndarray, ContentType("application/vnd.bentoml+pickle")]


def _scoring(role: runner.Role, model: StoredModel) -> Any:
    """Return the method with which BentoML scores for a role; adaptive batching over rows, unless they go together."""

    async def score(self: Runner, matrix: np.ndarray, /) -> Pickled:
        try:
            return await self.inside.score(role, matrix)
        except ModelError as err:
            raise UnprocessableEntity(reason_of(err)) from None  # of a status from 500 on BentoML sends no text

    score.__name__ = runner.METHODS[role]
    batchable = schema_of(model).rows != "together"
    return bentoml.api(batchable=batchable, max_batch_size=SETTINGS.max_batch_rows, max_latency_ms=60_000)(score)


@bentoml.service(name="ranker_runner", workers=1, runner_connection=runner.LASTING, **QUIET)
class Runner:
    """Scores matrices (n, F) float32 with the ONNX models."""

    model, score = bentoml.models.BentoModel(MODELS.main.tag), _scoring("model", MODELS.main)
    if MODELS.canary is not None:
        canary, score_canary = bentoml.models.BentoModel(MODELS.canary.tag), _scoring("canary", MODELS.canary)
    if MODELS.shadow is not None:
        shadow, score_shadow = bentoml.models.BentoModel(MODELS.shadow.tag), _scoring("shadow", MODELS.shadow)

    def __init__(self) -> None:
        self.inside = runner.Runner({role: load_model(getattr(self, role)) for role in MODELS.roles}, SETTINGS)

    @bentoml.on_startup
    async def start(self) -> None:
        protocol.trust_callers()
        await self.inside.open(Runner.url)  # type: ignore[attr-defined]  # the decorator makes a service of the class
        unused = partial(self.inside.unused, SETTINGS.stop_bound_s)
        self._membership = membership.Membership(unused, SETTINGS.stop_bound_s + 5)

    @bentoml.on_shutdown
    async def stop(self) -> None:
        await self.inside.close()
        self._membership.end()


class RankerService(bentoml.Service[Any]):
    """A BentoML service behind Ranker's own app."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        inner, schema = super().to_asgi(is_main), schema_of(MODELS.main)
        ids = partial(stored_ids, SETTINGS.redis_url, schema)
        return FRONT.compose(inner, lambda: get_current_service().worker, schema, ids, is_main=is_main)


@bentoml.service(
    name="ranker",
    workers=SETTINGS.api_workers,
    service_class=RankerService,
    runner_connection=runner.LASTING,  # of services that depend on this one
    image=image.describe(),
    labels=startup.labels(MODELS, __version__),
    **QUIET,
)
class Ranker:
    """Ranks a user's candidate products, best first."""

    model = bentoml.models.BentoModel(MODELS.main.tag)
    canary = MODELS.canary and bentoml.models.BentoModel(MODELS.canary.tag)
    shadow = MODELS.shadow and bentoml.models.BentoModel(MODELS.shadow.tag)
    if SETTINGS.runner == "service":
        runner = bentoml.depends(Runner)

    def __init__(self) -> None:
        self._ways = runner.WaysToScores(SETTINGS, Runner.url, lambda: self.runner.to_async)  # type: ignore[attr-defined]  # as above
        served = {role: self._ways.served(role, getattr(self, role)) for role in MODELS.roles}
        self.worker = Worker(SETTINGS, **served, spans=tracing.make_spans(os.environ, __version__))

    @bentoml.api(input_spec=PredictRequest, output_spec=PredictResponse)
    async def predict(self, **params: Any) -> PredictResponse:
        """Rank the products for the user, best first."""
        return await direct.predict(self.worker, params, SETTINGS.max_products)

    @bentoml.api(input_spec=ExplainRequest, output_spec=Explanation)
    async def explain(self, **params: Any) -> Explanation:
        """Explain a ranking: where features came from, and what each adds to the score."""
        return await direct.explain(self.worker, params, SETTINGS.max_products)

    @bentoml.on_deployment
    @staticmethod
    def check() -> None:
        """Refuse to start with a model that cannot be served or a Redis that does not answer; before any worker."""
        with startup.ending_with_one_message():
            preflight.check(SETTINGS, MODELS)
        watch = partial(supervision.Supervision, merge_dead, in_container=serving.running_inside_container())
        watch(drain_s=SETTINGS.drain_s, stop_s=SETTINGS.stop_bound_s + 10).start()

    @bentoml.on_startup
    async def start(self) -> None:
        self.worker.start()  # the runner may start later than this worker
        FRONT.attend(self.worker)
        self._membership = membership.Membership(self.worker.drain, SETTINGS.stop_bound_s)

    @bentoml.on_shutdown
    async def stop(self) -> None:
        await self.worker.stop()
        self._membership.end()

    async def __is_ready__(self) -> bool:
        return self.worker.ready and await self._ways.reachable()
