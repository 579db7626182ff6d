"""In-process calls: BentoML's own endpoints, for callers in this process and its test client; no socket, no turn.

Owns nothing but the way from parameters to a response model.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

from ranker.api.explain import ExplainRequest, Explanation
from ranker.api.predict import PredictRequest, PredictResponse, check_fields
from ranker.http.endpoints.explain import render as render_explanation
from ranker.http.endpoints.intake import render
from ranker.http.worker import Worker


async def predict(worker: Worker, params: Mapping[str, Any], max_products: int) -> PredictResponse:
    """Rank; raises as `api.predict.check_fields` and the worker."""
    request = check_fields(PredictRequest, params, max_products)
    arrived = monotonic()
    answer = await worker.rank(request, 0, arrived, None)
    body = render(request, answer)
    worker.observer.answered({}, request, answer, monotonic())
    return PredictResponse.model_validate_json(body)


async def explain(worker: Worker, params: Mapping[str, Any], max_products: int) -> Explanation:
    """Explain; raises as `api.predict.check_fields` and the worker."""
    request = check_fields(ExplainRequest, params, max_products)
    explanation = await worker.explain(request, monotonic(), None)
    return Explanation.model_validate_json(render_explanation(request, explanation))
