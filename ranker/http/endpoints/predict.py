"""`POST /predict` as an ASGI app: for whatever is no work for the lane, and for servers other than uvicorn.

Owns nothing but the wait for a response; how a body becomes one, `intake` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ranker.api.headers import Headers
from ranker.http.endpoints.endpoint import Endpoint
from ranker.http.endpoints.intake import Asked, Intake
from ranker.http.exchange import Exchange, Response
from ranker.http.gate import Gate
from ranker.http.worker import Worker

PATH = "/predict"


class Awaited(Asked):
    """Request whose response a task waits for."""

    __slots__ = ("response",)

    def __init__(self, worker: Worker, headers: Headers, body: bytes, deadline_s: float | None) -> None:
        super().__init__(worker, headers, body, deadline_s)
        self.response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def respond(self, response: Response) -> None:
        """Let the task go on, unless it was cancelled and has not noticed yet."""
        if not self.response.done():
            self.response.set_result(response)

    def cancel(self) -> None:
        """End the task."""
        self.response.cancel()


class PredictEndpoint(Endpoint):
    """An ASGI app that answers `POST /predict`; the arguments are those of `Endpoint`, and what has requests ranked."""

    def __init__(
        self, worker: Callable[[], Worker], gate: Gate, exchange: Exchange, model: str, intake: Intake
    ) -> None:
        super().__init__(worker, gate, exchange, model)
        self._intake = intake

    async def _answer(self, worker: Worker, headers: Headers, body: bytes, deadline_s: float | None) -> Response:
        asked = Awaited(worker, headers, body, deadline_s)
        self._intake.take(asked)
        try:
            return await asked.response
        finally:
            if not asked.over:
                self._intake.drop(asked)

    def _failed(self, worker: Worker, headers: Headers, arrived: float, response: Response) -> None:
        worker.observer.failed(headers, None, arrived, response.status, response.error_type)
