"""`POST /explain`: the same way in as `/predict`, one request at a time, and an explanation out.

Owns the JSON of an explanation. What explains is handed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ranker.api.explain import ExplainRequest
from ranker.api.headers import Headers
from ranker.api.predict import PredictRequest, parse_as
from ranker.http.endpoints.endpoint import Endpoint
from ranker.http.exchange import Exchange, Response, describe
from ranker.http.gate import Gate
from ranker.http.worker import Worker
from ranker.ranking.explain.explainer import Explanation, say_why
from ranker.vectors.feature import Feature
from ranker.vectors.feature.shown import show
from ranker.vectors.rows import RowStatus
from ranker.vectors.schema import FeatureSchema

PATH = "/explain"


class ExplainEndpoint(Endpoint):
    """An ASGI app that answers `POST /explain`; the arguments are those of `Endpoint`, and the most products."""

    def __init__(
        self, worker: Callable[[], Worker], gate: Gate, exchange: Exchange, model: str, max_products: int
    ) -> None:
        super().__init__(worker, gate, exchange, model)
        self._max_products = max_products
        self._turn = asyncio.Semaphore()
        """One at a time: each step of one takes as long as those of many rankings."""

    async def _answer(self, worker: Worker, headers: Headers, body: bytes, deadline_s: float | None) -> Response:
        arrived, request = monotonic(), None
        has_turn = await self._take_turn(worker, len(body), deadline_s)
        try:
            request = parse_as(ExplainRequest, body, self._max_products)
            explanation = await worker.explain(request, arrived, deadline_s)
            timing = explanation.answer.timings().to_header()
            return Response(200, render(request, explanation), explanation.model, timing)
        except Exception as err:
            request_id = request.requestId if request else getattr(err, "request_id", None)
            model = worker.model_for(request) if request else self._model
            return describe(err, request_id, headers, model, arrived)
        finally:
            if has_turn:
                self._turn.release()

    async def _take_turn(self, worker: Worker, body_bytes: int, deadline_s: float | None) -> bool:
        """Wait for the turn; return False when there was none in time, which the worker will find late."""
        worker.admission.queue(body_bytes)
        try:
            async with asyncio.timeout(worker.allowed_s(deadline_s)):
                return await self._turn.acquire()
        except TimeoutError:
            return False
        finally:
            worker.admission.unqueue(body_bytes)


def render(request: PredictRequest, explanation: Explanation) -> bytes:
    """Return the JSON body of an explanation."""
    groups = _Groups(explanation.schema)
    answer, user = explanation.answer, explanation.provenances[0]
    first = groups.values(explanation.matrix[0], once=True)
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
            "groups": groups.stored(explanation, 0, first, once=True),
            "products": [
                _product(explanation, groups, position, row) for position, row in enumerate(explanation.ranked.tolist())
            ],
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


def _product(explanation: Explanation, groups: _Groups, position: int, row: int) -> dict[str, Any]:
    """Return what is told of one product: its place in the ranking, where its features come from, what each adds."""
    source, reason = explanation.provenances[1 + row]
    shown = groups.values(explanation.matrix[row], once=False) if position < len(explanation.shown) else {}
    is_explained = position < len(explanation.contributions)
    outputs = {name: values[row] for name, values in explanation.outputs.items()}
    return {
        "id": explanation.answer.ranking[position],
        "rank": position + 1,
        "score": explanation.answer.scores[position],
        **({"outputs": outputs} if outputs else {}),
        "source": source,
        "reason": reason,
        "features": shown.get("product"),
        "productContext": shown.get("productContext"),
        "groups": groups.stored(explanation, row, shown, once=False),
        "contributions": groups.contributions(explanation.contributions[position]) if is_explained else None,
    }


class _Groups:
    """Splits rows (F,) into what the schema's groups name."""

    def __init__(self, schema: FeatureSchema) -> None:
        self._features: dict[str, list[tuple[Feature, slice]]]
        self._features = {name: [] for name in ("user", "product", "context", "productContext")}
        self._features |= {name: schema.columns_of(name) for name in schema.groups}
        self._keyed = schema.keyed
        self._side = schema.side_information
        self._request_side = schema.request_side

    def values(self, row: npt.NDArray[np.float32], *, once: bool) -> dict[str, dict[str, Any]]:
        """Return the values of each group by name, from a row (F,); a group that the schema lacks is empty.

        Args:
            row: The row.
            once: Whether it is about the groups whose values all rows of a request share, or about the others.
        """
        return {
            group: {f.name: row[at.start] if f.is_plain else show(f, row[at]) for f, at in features}
            for group, features in self._features.items()
            if (group in self._request_side) == once
        }

    def contributions(self, row: npt.NDArray[np.float32]) -> dict[str, dict[str, Any]]:
        """Return what each feature adds, by group and name, from a row (F,) with it in the feature's first column."""
        added: dict[str, Any]
        added = {group: {f.name: row[at.start] for f, at in features} for group, features in self._features.items()}
        return added | {"groups": {name: added.pop(name) for name in (*self._keyed, *self._side)}}

    def stored(
        self, explanation: Explanation, row: int, shown: Mapping[str, Any], *, once: bool
    ) -> dict[str, dict[str, Any]]:
        """Return what the groups under keys of their own held for a row, those that are per user or those that are not.

        The side information of histories is among the first.

        Args:
            explanation: What was ranked.
            row: A product's, or any.
            shown: The values of each group by name, where they are shown.
            once: Whether it is about the groups per user.
        """
        answer = explanation.answer
        found = {}
        for name, group in self._keyed.items():
            if group.is_request_side == once:
                rows = (answer.features.groups or {}).get(name)
                status = RowStatus.MISSING if rows is None else RowStatus(rows.statuses[0 if once else row])
                reason = say_why(status)
                source = "stored" if reason is None else "default"
                found[name] = {"source": source, "reason": reason, "features": shown.get(name)}
        if once:
            stored = {"source": "stored", "reason": None}
            found |= {name: {**stored, "features": shown.get(name)} for name in self._side}
        return found
