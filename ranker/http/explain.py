"""`POST /explain`: the same way in as `/predict`, one request at a time, and an explanation out.

Owns the JSON of an explanation. What explains is handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ranker.api.explain import ExplainRequest
from ranker.api.headers import Headers
from ranker.api.predict import PredictRequest, parse_as
from ranker.http.endpoint import Answered, Endpoint, Worker
from ranker.http.exchange import Exchange
from ranker.http.gate import Gate
from ranker.ranking.explain.explainer import Explanation
from ranker.scheduling.turns import Turns
from ranker.vectors.feature import Feature
from ranker.vectors.feature.shown import show
from ranker.vectors.schema import FeatureSchema

PATH = "/explain"


class ExplainEndpoint(Endpoint[ExplainRequest]):
    """An ASGI app that answers `POST /explain`; the arguments are those of `Endpoint`."""

    def __init__(
        self, worker: Callable[[], Worker], gate: Gate, exchange: Exchange, max_products: int, model: str
    ) -> None:
        super().__init__(worker, gate, exchange, max_products, model)
        self._turns = Turns(per_round=1, long_at_a_time=1)

    async def _turn(self, worker: Worker, body: bytes, deadline_s: float | None) -> Callable[[], None] | None:
        worker.admission.queue(len(body))
        try:
            return self._turns.end_long if await self._turns.take_long(worker.allowed_s(deadline_s)) else None
        finally:
            worker.admission.unqueue(len(body))

    def _parse(self, body: bytes) -> ExplainRequest:
        return parse_as(ExplainRequest, body, self._max_products)

    async def _answer(
        self,
        worker: Worker,
        headers: Headers,
        request: ExplainRequest,
        body_bytes: int,
        arrived: float,
        deadline_s: float | None,
    ) -> Answered:
        explanation = await worker.explain(request, arrived, deadline_s)
        return Answered(render(request, explanation), explanation.model, explanation.answer.timings().to_header())


def render(request: PredictRequest, explanation: Explanation) -> bytes:
    """Return the JSON body of an explanation."""
    groups = _Groups(explanation.schema)
    answer, provenances = explanation.answer, explanation.provenances
    first = groups.values(explanation.matrix[0])
    user = provenances[0]
    products = []
    for position, row in enumerate(explanation.ranked.tolist()):
        source, reason = provenances[1 + row]
        shown = groups.values(explanation.matrix[row]) if position < len(explanation.shown) else {}
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
                "contributions": groups.contributions(explanation.contributions[position]) if told else None,
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
        self._features: dict[str, list[tuple[Feature, slice]]]
        self._features = {name: [] for name in ("user", "product", "context", "productContext")}
        self._features |= {name: schema.columns_of(name) for name in schema.groups}

    def values(self, row: npt.NDArray[np.float32]) -> dict[str, dict[str, Any]]:
        """Return the values of each group by name, from a row (F,); a group that the schema lacks is empty."""
        return {
            group: {f.name: row[at.start] if f.is_plain else show(f, row[at]) for f, at in features}
            for group, features in self._features.items()
        }

    def contributions(self, row: npt.NDArray[np.float32]) -> dict[str, dict[str, Any]]:
        """Return what each feature adds, by group and name, from a row (F,) with it in the feature's first column."""
        return {group: {f.name: row[at.start] for f, at in features} for group, features in self._features.items()}
