"""Routing: rankings and explanations go to their endpoints, pages to theirs, and all else to the app that BentoML made.

Owns who answers which path, and that nothing is answered for whom the gate does not let through.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from ranker.api.headers import allow_header
from ranker.errors import RequestError
from ranker.http import cors
from ranker.http.connection import protocol
from ranker.http.endpoints import explain, predict
from ranker.http.endpoints.composed import Composed
from ranker.http.endpoints.intake import Intake
from ranker.http.endpoints.lane import Lane
from ranker.http.exchange import Exchange, Response, describe
from ranker.http.exchange import send as send_response
from ranker.http.gate import OPTIONS, READ, Gate, known_paths
from ranker.http.pages import documentation, example_ids, playground, scrape, swagger
from ranker.http.worker import Worker
from ranker.settings.environment import Settings
from ranker.telemetry.metrics.exposition import Exposition
from ranker.vectors.schema import FeatureSchema

Paths = Mapping[tuple[str, str], ASGIApp]
"""(Method, path) → what answers it."""


class App:
    """An ASGI app in front of another that answers what nobody here does.

    Args:
        app: The other.
        gate: Checks paths, methods and the token.
        endpoints: What checks its callers itself, for it counts those whom it refuses.
        pages: What is answered once the gate has let its caller through.
    """

    def __init__(self, app: ASGIApp, gate: Gate, endpoints: Paths, pages: Paths) -> None:
        self.app = app
        self._gate = gate
        self._endpoints = endpoints
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self.app
        if scope["type"] == "http":
            path, method = scope["path"], scope["method"]
            if endpoint := self._endpoints.get((method, path)):
                await endpoint(scope, receive, send)
                return
            try:
                self._gate.check_caller(path, dict(scope["headers"]))
                self._gate.check_path(method, path)
            except RequestError as err:
                await send_response(send, describe(err, None, {}))
                return
            if method == OPTIONS:
                allowed = allow_header(self._gate.methods(path))
                await send_response(send, Response(200, b"", headers=[allowed]), kind=None)
                return
            answer = self._pages.get((method, path), self.app)
        await answer(scope, receive, send)


class Front:
    """All that answers callers in this process: connections, the lane on them, and the app behind them.

    Args:
        settings: As read from the environment.
        model: The model's tag, for responses to requests that could not be read.
    """

    def __init__(self, settings: Settings, model: object) -> None:
        self._settings = settings
        self._model = str(model)
        self._intake = Intake(settings.max_products, self._model)
        buffered_bytes = settings.max_buffered_mb << 20
        protocol.install(settings.read_timeout_s, settings.keep_alive_s, buffered_bytes, settings.max_connections)

    def compose(
        self,
        inner: Any,
        worker: Callable[[], Worker],
        schema: FeatureSchema,
        find_ids: example_ids.Find,
        *,
        is_main: bool = True,
    ) -> ASGIApp:
        """Return the service's app.

        Args:
            inner: BentoML's, which answers health checks and static files.
            worker: Returns what ranks; it exists only once the app has started.
            schema: The model's, for the documentation.
            find_ids: Looks for ids in the store, for the playground.
            is_main: Whether it is the service that is served, or one that another depends on.
        """
        settings, model = self._settings, self._model
        paths = known_paths(inner.routes)
        pages: dict[str, ASGIApp] = {
            swagger.PATH: swagger.make_page(),
            documentation.PATH: documentation.Documentation(schema, settings, model),
        }
        if settings.playground == "on":
            paths[playground.PATH] = READ
            paths[example_ids.PATH] = READ
            pages[playground.PATH] = playground.make_page()
            pages[example_ids.PATH] = example_ids.ExampleIds(find_ids)
        if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            paths[scrape.PATH] = READ
            pages[scrape.PATH] = scrape.Scrape(Exposition(Path(folder)), lambda: worker().recorder.flush())
        gate = Gate(paths, settings.api_tokens)
        exchange = Exchange(settings.max_body_bytes, settings.read_timeout_s)
        protocol.tell_of_hang_ups(exchange.callers.hung_up)
        endpoints: dict[tuple[str, str], ASGIApp] = {
            ("POST", predict.PATH): predict.PredictEndpoint(worker, gate, exchange, model, self._intake),
            ("POST", explain.PATH): explain.ExplainEndpoint(worker, gate, exchange, model, settings.max_products),
        }
        if not is_main:
            token = settings.api_tokens[0] if settings.api_tokens else None
            endpoints = {key: Composed(asked, settings.max_body_bytes, token) for key, asked in endpoints.items()}
        read = {(method, path): page for path, page in pages.items() for method in READ}
        app = App(inner, gate, endpoints, read)
        return cors.allow(app, settings.allowed_origins) if settings.allowed_origins else app

    def attend(self, worker: Worker) -> None:
        """Open the lane to a worker that has started, and let its metrics tell what waits and what is held."""
        gate = Gate({}, self._settings.api_tokens)
        protocol.open_lane(Lane(worker, self._intake, gate, self._settings.max_body_bytes))
        worker.recorder.sources.watch_holdings(protocol.BoundedProtocol.holdings)
        worker.recorder.sources.watch_waiting({"turn": lambda: self._intake.waiting})
