"""`POST /explain` over ASGI: the same way in as `/predict`, one at a time, and an explanation out.

Owns the JSON of an explanation. What explains is handed in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, Protocol

import numpy as np
import orjson
from starlette.types import Receive, Scope, Send

from ranker.api.explain import ExplainRequest
from ranker.api.headers import CLOSE, JSON, Headers, deadline_s, model_header
from ranker.api.predict import PredictRequest, parse_as
from ranker.http.exchange import Exchange, send_answer
from ranker.http.hang_ups import Callers
from ranker.ranking.explain.explainer import Explanation
from ranker.scheduling.admission import Admission
from ranker.scheduling.turns import Turns
from ranker.vectors.schema import FeatureSchema


class Worker(Protocol):
    """What explains."""

    admission: Admission
    callers: Callers
    draining: bool

    def allowed_s(self, deadline_s: float | None) -> float:
        """Return the seconds that a request may take whose caller waits for `deadline_s`."""

    def model_for(self, user_id: str) -> str:
        """Return the tag of the model that ranks for a user."""

    def explain(self, request: ExplainRequest, arrived: float, deadline_s: float | None) -> Awaitable[Explanation]:
        """Explain one checked request that arrived at a time of `time.monotonic`."""


class ExplainRoute:
    """An ASGI app that answers `POST /explain`.

    Args:
        worker: Returns what explains; called for each request.
        exchange: Reads bodies, sends errors.
        max_products: The most products of one request.
        model: The model's tag, for the header `X-Ranker-Model` of answers to requests that could not be read.
    """

    def __init__(
        self,
        worker: Callable[[], Worker],
        exchange: Exchange,
        max_products: int,
        model: str,
    ) -> None:
        self._worker = worker
        self._exchange = exchange
        self._max_products = max_products
        self._model = model
        self._turns = Turns(per_round=1, long_at_a_time=1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        worker = self._worker()
        headers = [JSON]
        if worker.draining:
            headers.append(CLOSE)
        request: ExplainRequest | None = None
        said: Headers = dict(scope["headers"])
        try:
            wanted_s = deadline_s(said)
            body = await self._exchange.read_body(said, receive)
            arrived = monotonic()
            with worker.callers.listening(receive):
                turn = await self._turn(worker, len(body), wanted_s)
                try:
                    request = parse_as(ExplainRequest, body, self._max_products)
                    explanation = await worker.explain(request, arrived, wanted_s)
                    body = render(request, explanation)
                finally:
                    if turn:
                        self._turns.end_long()
        except Exception as err:
            request_id = request.requestId if request else getattr(err, "request_id", None)
            headers.append(model_header(worker.model_for(request.userId) if request else self._model))
            await self._exchange.send_error(send, err, request_id, headers, said)
            return
        headers.append(model_header(explanation.model))
        headers.append((b"server-timing", explanation.answer.timings().header().encode()))
        await send_answer(send, 200, headers, body)

    async def _turn(self, worker: Worker, body_bytes: int, wanted_s: float | None) -> bool:
        """Wait until no other request is explained; return False when the time for that was up."""
        worker.admission.queue(body_bytes)
        try:
            return await self._turns.take_long(worker.allowed_s(wanted_s))
        finally:
            worker.admission.unqueue(body_bytes)


def render(request: PredictRequest, explanation: Explanation) -> bytes:
    """Return the JSON body of an explanation."""
    groups = _Groups(explanation.schema)
    answer, provenances = explanation.answer, explanation.provenances
    first = groups.by_name(explanation.matrix[0])
    user = provenances[0]
    products = []
    for position, row in enumerate(explanation.ranked.tolist()):
        source, reason = provenances[1 + row]
        shown = groups.by_name(explanation.matrix[row]) if position < len(explanation.shown) else {}
        told = position < len(explanation.contributions)
        products.append(
            {
                "id": answer.ranking[position],
                "rank": position + 1,
                "score": answer.scores[position],
                "source": source,
                "reason": reason,
                "features": shown.get("product"),
                "productContext": shown.get("productContext"),
                "contributions": groups.by_name(explanation.contributions[position]) if told else None,
            }
        )
    timings = answer.timings()._asdict() | {"explain": explanation.explain_s}
    return orjson.dumps(
        {
            "requestId": request.requestId,
            "model": explanation.model,
            "fingerprint": f"{explanation.schema.fingerprint:08x}",
            "user": {
                "id": request.userId,
                "source": user.source,
                "reason": user.reason,
                "features": first["user"],
            },
            "context": first["context"],
            "products": products,
            "explained": len(explanation.contributions),
            "limitedBy": explanation.limit,
            "missing": answer.missing,
            "missingUser": answer.missing_user,
            "degraded": answer.degraded_reason is not None,
            "degradedReason": answer.degraded_reason,
            "failure": explanation.failure,
            "timings": {stage: round(seconds * 1e3, 3) for stage, seconds in timings.items()},
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


class _Groups:
    """Splits rows (F,) into what the schema's groups name."""

    def __init__(self, schema: FeatureSchema) -> None:
        self._names: dict[str, Sequence[str]] = dict.fromkeys(("user", "product", "context", "productContext"), ())
        self._names |= {name: group.names for name, group in schema.groups.items()}

    def by_name(self, row: np.ndarray[Any, np.dtype[np.float32]]) -> dict[str, dict[str, np.float32]]:
        """Return the values of each group by name; a group that the schema lacks is empty."""
        values = iter(row)
        return {group: {name: next(values) for name in names} for group, names in self._names.items()}
