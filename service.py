"""The BentoML shell: the runner service, the API service, errors to HTTP, lifecycle.

The ranking itself is in `ranker/`; here it meets processes and sockets. `POST /predict` is answered by `PredictRoute`
(`ranker/route.py`), in front of BentoML's middlewares and its own endpoint: the same method, schema and client, without
the framework's share of the time, and with one shape for every error.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

import bentoml
import numpy as np
from bentoml import get_current_service  # each look at it through the module takes 3 us
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml.serving import running_inside_container
from bentoml.validators import ContentType
from starlette.types import ASGIApp

from ranker import __version__, errors
from ranker.api import predict as api
from ranker.api.explain import ExplainRequest, ExplainResponse
from ranker.http.connection import protocol
from ranker.http.connection.early_refusals import EarlyRefusals
from ranker.http.exchange import Exchange
from ranker.http.explain import ExplainRoute
from ranker.http.explain import render as render_explanation
from ranker.http.gate import READ, Gate, known_paths
from ranker.http.pages import openapi, playground, scrape, swagger
from ranker.http.predict import PredictRoute, render
from ranker.http.statuses import INTERNAL
from ranker.process import background
from ranker.process.memory import freeze, keep_freed_memory
from ranker.process.run_folder import MetricsFolder, RunFolder
from ranker.process.shutdown import PARENT, end_when_told, follow_parent
from ranker.process.supervision import Supervision
from ranker.ranking.pipeline import ScoreMatrix
from ranker.scoring import registry
from ranker.scoring.runner_channel import ChannelClient, ChannelServer
from ranker.scoring.scorer import Scorer
from ranker.serving import preflight, startup
from ranker.serving.shadow import ALLOWED_S
from ranker.serving.variant import ServedModel
from ranker.serving.worker import Worker
from ranker.telemetry import logs, tracing
from ranker.telemetry.metrics.dead import bury
from ranker.telemetry.metrics.exposition import Exposition
from ranker.vectors.rows import Matrix, Scores

# uvicorn takes uvloop wherever it finds it. With uvloop 0.23 some of 300 connections wait for seconds while others are
# served again and again (p99 2.6 s at 500 in flight, against 0.5 s); asyncio's own loop is fair, and as fast here.
sys.modules["uvloop"] = None  # type: ignore[assignment]

STATUS: dict[type[errors.RankerError], tuple[int, str]] = {
    errors.EmptyBody: (400, "empty_body"),
    errors.InvalidJson: (400, "invalid_json"),
    errors.InvalidRequest: (400, "invalid_request"),
    errors.DuplicateProducts: (400, "duplicate_products"),
    errors.TooManyProducts: (400, "too_many_products"),
    errors.InvalidTimeout: (400, "invalid_timeout"),
    errors.Unauthorized: (401, "unauthorized"),
    errors.UnknownPath: (404, "unknown_path"),
    errors.UnknownUser: (404, "unknown_user"),
    errors.WrongMethod: (405, "wrong_method"),
    errors.SlowBody: (408, "slow_body"),
    errors.BodyTooLarge: (413, "body_too_large"),
    errors.Overloaded: (429, "overloaded"),
    errors.CallerGone: (499, "abandoned"),
    errors.StoreUnavailable: (503, "store_unavailable"),
    errors.RunnerUnavailable: (503, "runner_unavailable"),
    errors.ModelFailed: (503, "model_failed"),
    errors.WrongShape: (503, "model_failed"),
    errors.DeadlineExceeded: (504, "deadline_exceeded"),
}

try:
    SETTINGS, MODELS = startup.read(os.environ, Path(__file__).resolve().parent)
except errors.StartupError as err:
    raise SystemExit(str(err)) from None

Role = Literal["model", "canary", "shadow"]
ROLES: tuple[Role, ...] = (
    "model",
    *(("canary",) if MODELS.canary is not None else ()),
    *(("shadow",) if MODELS.shadow is not None else ()),
)
"""Which models are served; also the services' attributes that name them, so that a Bento carries them."""

logs.install(SETTINGS.log_format)
protocol.install(
    SETTINGS.read_timeout_s, SETTINGS.keep_alive_s, SETTINGS.max_buffered_mb << 20, SETTINGS.max_connections
)
# BentoML's own is in its home, which other services share: each start empties it.
BentoMLContainer.prometheus_multiproc_dir.set(MetricsFolder())  # type: ignore[arg-type]  # it makes a Path of it

STOP_BOUND_S = SETTINGS.drain_s + SETTINGS.read_timeout_s + SETTINGS.deadline_ms / 1000 + 5
"""From SIGTERM until an API worker is gone: it drains, bodies under way arrive, and are answered."""

QUIET: dict[str, Any] = {
    # A timer per request stays until it fires, so it must not be long after the deadline.
    "traffic": {"timeout": int(SETTINGS.deadline_ms / 1000) + 2},
    "tracing": {"excluded_urls": ["."]},
    "logging": {"access": {"enabled": False}},
}

# BentoML knows a distribution by what it installs there: for Debian that is a compiler and git, 500 MB.
IMAGE = bentoml.images.Image(base_image="python:3.11-slim", distro="none", python_version="3.11")
# Or uv's cache stays in the image, 27 MB. Said in a file, for what a Bento sets is set where it serves, too.
IMAGE.run("mkdir -p /root/.config/uv && echo 'no-cache = true' >/root/.config/uv/uv.toml")
LABELS = {
    "version": __version__,
    **{name: str(model.tag) for name, model in zip(startup.MODEL_FIELDS, MODELS, strict=True) if model is not None},
    "fingerprint": f"{registry.schema_of(MODELS.main).fingerprint:08x}",
}


@bentoml.service(
    name="ranker_runner",
    workers=1,
    metrics={"enabled": False},
    # BentoML's client closes its session after max_requests while other calls are still using it.
    runner_connection={"max_requests": 1_000_000_000, "max_age": 1e9},
    **QUIET,
)
class Runner:
    """Scores matrices with the ONNX model; adaptive batching over rows."""

    model = bentoml.models.BentoModel(MODELS.main.tag)
    if MODELS.canary is not None:
        canary = bentoml.models.BentoModel(MODELS.canary.tag)
    if MODELS.shadow is not None:
        shadow = bentoml.models.BentoModel(MODELS.shadow.tag)

    def __init__(self) -> None:
        self._scorers: dict[Role, Scorer] = {}
        self._channels: dict[Role, ChannelServer] = {}
        for role in ROLES:
            onnx = registry.load_model(getattr(self, role))
            self._scorers[role] = scorer = Scorer(onnx.score, background=role == "shadow")
            self._channels[role] = ChannelServer(scorer, onnx.width, SETTINGS.max_batch_rows)

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=SETTINGS.max_batch_rows, max_latency_ms=60_000)
    async def score(
        self, matrix: np.ndarray, /
    ) -> Annotated[np.ndarray, ContentType("application/vnd.bentoml+pickle")]:
        """Score a matrix (n, F) float32; return (n,) float32."""
        return await self._scorers["model"](matrix)

    if MODELS.canary is not None:

        @bentoml.api(batchable=True, batch_dim=0, max_batch_size=SETTINGS.max_batch_rows, max_latency_ms=60_000)
        async def score_canary(
            self, matrix: np.ndarray, /
        ) -> Annotated[np.ndarray, ContentType("application/vnd.bentoml+pickle")]:
            """Score a matrix (n, F) float32 with the canary; return (n,) float32."""
            return await self._scorers["canary"](matrix)

    if MODELS.shadow is not None:

        @bentoml.api(batchable=True, batch_dim=0, max_batch_size=SETTINGS.max_batch_rows, max_latency_ms=60_000)
        async def score_shadow(
            self, matrix: np.ndarray, /
        ) -> Annotated[np.ndarray, ContentType("application/vnd.bentoml+pickle")]:
            """Score a matrix (n, F) float32 with the shadow; return (n,) float32."""
            return await self._scorers["shadow"](matrix)

    @bentoml.on_startup
    async def start(self) -> None:
        """Open the short way for API workers of this machine."""
        protocol.trust_callers()
        self._folder = RunFolder.join(Path(tempfile.gettempdir()))
        keep_freed_memory()
        for role, channel in self._channels.items():
            if path := _channel_path(role):
                await channel.open(path)
        end_when_told(self._drain, STOP_BOUND_S + 5)
        self._following = background.keep("parent watch", follow_parent, needed=False)
        freeze()

    async def _drain(self) -> None:
        """Be there until the last API worker is gone; they were told to end at the same moment."""
        await asyncio.gather(*(channel.unused(STOP_BOUND_S) for channel in self._channels.values()))

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Answer what is in progress."""
        self._following.cancel()
        for role in ROLES:
            await self._channels[role].close()
            self._scorers[role].close()
        if self._folder is not None:
            self._folder.leave()


class RankerService(bentoml.Service[Any]):
    """A BentoML service whose `/predict` and `/explain` are answered before BentoML's middlewares."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        app = super().to_asgi(is_main)
        paths = known_paths(app.routes)
        exchange, most, tag = Exchange(SETTINGS, STATUS), SETTINGS.max_products, str(MODELS.main.tag)
        beside: dict[tuple[str, str], ASGIApp] = {("POST", "/explain"): ExplainRoute(_worker, exchange, most, tag)}
        beside |= dict.fromkeys(((method, swagger.PATH) for method in READ), swagger.swagger())
        if SETTINGS.playground == "on":
            paths[playground.PATH] = READ
            beside |= dict.fromkeys(((method, playground.PATH) for method in READ), playground.playground())
        if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            metrics = scrape.Scrape(Exposition(Path(folder)), lambda: _worker().recorder.flush())
            beside |= dict.fromkeys(((method, scrape.PATH) for method in READ), metrics)
        gate = Gate(paths, SETTINGS.api_tokens)
        return PredictRoute(app, gate, _worker, exchange, most, tag, beside)

    @property
    def openapi_spec(self) -> Any:
        """BentoML's specification, with what each path really takes and answers, and the context this model takes."""
        answered = [STATUS[err] for err in STATUS if not issubclass(err, errors.PathError | errors.CallerGone)]
        token = SETTINGS.api_token is not None
        specification = openapi.corrected(super().openapi_spec, (*answered, INTERNAL), version=__version__, token=token)
        return openapi.with_context(specification, registry.schema_of(MODELS.main))


@bentoml.service(
    name="ranker",
    workers=SETTINGS.api_workers,
    service_class=RankerService,
    image=IMAGE,
    labels=LABELS,
    **QUIET,
)
class Ranker:
    """Ranks a user's candidate products, best first."""

    model = bentoml.models.BentoModel(MODELS.main.tag)
    if MODELS.canary is not None:
        canary = bentoml.models.BentoModel(MODELS.canary.tag)
    if MODELS.shadow is not None:
        shadow = bentoml.models.BentoModel(MODELS.shadow.tag)
    if SETTINGS.runner == "service":
        runner = bentoml.depends(Runner)

    def __init__(self) -> None:
        self._channels: dict[Role, ChannelClient] = {}
        served = {role: self._served(role) for role in ROLES}
        traces = tracing.exporter(os.environ)
        spans = None if traces is None else tracing.Spans(traces, __version__)
        self.worker = Worker(SETTINGS, served["model"], served.get("canary"), served.get("shadow"), spans)
        for model in served.values():
            self.worker.recorder.model(model.tag, model.schema.fingerprint, SETTINGS.runner)

    @bentoml.api(input_spec=api.PredictRequest, output_spec=api.PredictResponse)
    async def predict(self, **params: Any) -> api.PredictResponse:
        """Rank the products for the user, best first."""
        request = api.check(api.PredictRequest(**params), SETTINGS.max_products)
        answer = await self.worker.rank(request)
        body = render(request, answer)
        self.worker.observer.answered({}, request, self.worker.model_for(request.userId), answer, monotonic())
        return api.PredictResponse.model_validate_json(body)

    @bentoml.api(input_spec=ExplainRequest, output_spec=ExplainResponse)
    async def explain(self, **params: Any) -> ExplainResponse:
        """Say why the products stand as they do: where features came from, and what each adds to the score."""
        request = api.check(ExplainRequest(**params), SETTINGS.max_products)
        explanation = await self.worker.explain(request)
        body = render_explanation(request, explanation)
        return ExplainResponse.model_validate_json(body)

    def _served(self, role: Role) -> ServedModel:
        stored = getattr(self, role)
        schema = registry.schema_of(stored)
        return ServedModel(str(stored.tag), schema, self._way_to(role, stored, schema.width))

    def _way_to(self, role: Role, stored: bentoml.Model, width: int) -> ScoreMatrix:
        """Return what scores: in this process, a unix socket away, or wherever BentoML put the runner."""
        if SETTINGS.runner == "local":
            return Scorer(registry.load_model(stored).score, background=role == "shadow")
        if path := _channel_path(role):
            # Nobody waits for a shadow.
            timeout_s = ALLOWED_S if role == "shadow" else SETTINGS.deadline_ms / 1000
            self._channels[role] = ChannelClient(path, width, SETTINGS.max_batch_rows, timeout_s=timeout_s)
            return self._channels[role].score
        return partial(self._score_in_runner, "score" if role == "model" else f"score_{role}")

    async def _score_in_runner(self, method: str, matrix: Matrix) -> Scores:
        try:
            scores: Scores = await getattr(self.runner.to_async, method)(matrix)
        except Exception as err:  # whatever aiohttp or BentoML raise, the runner did not score
            raise errors.RunnerUnavailable(f"{type(err).__name__}: {err}") from err
        return scores

    @bentoml.on_deployment
    @staticmethod
    def check() -> None:
        """Refuse to start with a model that cannot be served or a Redis that does not answer; before any worker."""
        try:
            preflight.check(SETTINGS, MODELS)
        except errors.StartupError as err:
            raise SystemExit(str(err)) from None
        parent = int(os.environ[PARENT]) if PARENT in os.environ else None
        in_container, drain_s = running_inside_container(), SETTINGS.drain_s
        Supervision(bury, in_container=in_container, drain_s=drain_s, parent=parent).start()

    @bentoml.on_startup
    async def start(self) -> None:
        """Begin to warm up; the runner may start later than this worker."""
        self._folder = RunFolder.join(Path(tempfile.gettempdir()))
        self.worker.start()
        protocol.tell_of_hang_ups(self.worker.callers.hung_up)
        self.worker.recorder.watch_holdings(protocol.BoundedProtocol.holdings)
        protocol.refuse_early(EarlyRefusals(self.worker, STATUS))
        end_when_told(self.worker.drain, STOP_BOUND_S)
        self._following = background.keep("parent watch", follow_parent, needed=False)

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Let go of Redis."""
        self._following.cancel()
        await self.worker.stop()
        if self._folder is not None:
            self._folder.leave()

    async def __is_ready__(self) -> bool:
        """Say no at once when the runner is gone, which BentoML's own probe of it would wait five seconds for."""
        return self.worker.ready and ("model" not in self._channels or await self._channels["model"].reachable())


def _worker() -> Worker:
    """Return what ranks in this process; it exists once the service has started."""
    worker: Worker = get_current_service().worker
    return worker


def _channel_path(role: Role) -> Path | None:
    """Return where the runner's short way is: beside the socket that BentoML made for it, if it made one."""
    runner: bentoml.Service[Any] = Runner
    url = urlsplit(runner.url or "")
    return Path(unquote(url.path)).with_suffix(f".{role}.rows") if url.scheme == "file" else None
