"""App: the front of the service. A ranking or an explanation goes to its endpoint, a page to its page, the rest on.

Owns who answers which path, and that nothing is answered for whom the gate does not let through.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from ranker.api.headers import JSON, allow_header
from ranker.errors import RequestError
from ranker.http import cors, explain, predict
from ranker.http.composed import Composed
from ranker.http.connection import protocol
from ranker.http.connection.early_refusals import EarlyRefusals
from ranker.http.endpoint import Worker
from ranker.http.exchange import Exchange, send_answer
from ranker.http.gate import OPTIONS, READ, Gate, known_paths
from ranker.http.pages import documentation, playground, scrape, swagger
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
        exchange: Sends errors.
        endpoints: What checks its callers itself, for it counts those whom it refuses.
        pages: What is answered once the gate has let its caller through.
    """

    def __init__(self, app: ASGIApp, gate: Gate, exchange: Exchange, endpoints: Paths, pages: Paths) -> None:
        self.app = app
        self._gate = gate
        self._exchange = exchange
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
                await self._exchange.send_error(send, err, None, [JSON], {})
                return
            if method == OPTIONS:
                await send_answer(send, 200, [allow_header(self._gate.methods(path))], b"")
                return
            answer = self._pages.get((method, path), self.app)
        await answer(scope, receive, send)


def install(settings: Settings) -> None:
    """Have uvicorn use connections with the settings' bounds in this process."""
    buffered_bytes = settings.max_buffered_mb << 20
    protocol.install(settings.read_timeout_s, settings.keep_alive_s, buffered_bytes, settings.max_connections)


def compose(
    inner: Any, worker: Callable[[], Worker], settings: Settings, model: object, schema: FeatureSchema, *, is_main: bool
) -> ASGIApp:
    """Return the service's app.

    Args:
        inner: BentoML's, which answers health checks and static files.
        worker: Returns what ranks; it exists only once the app has started.
        settings: As read from the environment.
        model: The model's tag, for the documentation and for answers to requests that could not be read.
        schema: The model's, for the documentation.
        is_main: Whether it is the service that is served, or one that another depends on.
    """
    paths, tag = known_paths(inner.routes), str(model)
    pages: dict[str, ASGIApp] = {
        swagger.PATH: swagger.swagger(),
        documentation.PATH: documentation.Documentation(schema, settings, tag),
    }
    if settings.playground == "on":
        paths[playground.PATH] = READ
        pages[playground.PATH] = playground.playground()
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        pages[scrape.PATH] = scrape.Scrape(Exposition(Path(folder)), lambda: worker().recorder.flush())
    gate = Gate(paths, settings.api_tokens)
    exchange = Exchange(settings.max_body_bytes, settings.read_timeout_s)
    protocol.tell_of_hang_ups(exchange.callers.hung_up)
    endpoints: dict[tuple[str, str], ASGIApp] = {
        ("POST", predict.PATH): predict.PredictEndpoint(worker, gate, exchange, settings.max_products, tag),
        ("POST", explain.PATH): explain.ExplainEndpoint(worker, gate, exchange, settings.max_products, tag),
    }
    if not is_main:
        token = settings.api_tokens[0] if settings.api_tokens else None
        endpoints = {key: Composed(asked, settings.max_body_bytes, token) for key, asked in endpoints.items()}
    read = {(method, path): page for path, page in pages.items() for method in READ}
    app = App(inner, gate, exchange, endpoints, read)
    return cors.allow(app, settings.allowed_origins) if settings.allowed_origins else app


def attend(worker: Worker) -> None:
    """Have connections refuse where this worker has no room, and its metrics tell what they hold."""
    worker.recorder.watch_holdings(protocol.BoundedProtocol.holdings)
    protocol.refuse_early(EarlyRefusals(worker.admission, worker.turns, worker.recorder))
