"""Measured requests: drawn from what Redis holds, so their ids, vectors and sizes are the user's own."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from ranker.api.predict import PredictRequest
from ranker.doctor.sample import Sample

VARIETY = 1000
"""Different requests, asked in turn: with few the processor's caches would hold all that they touch."""
WARMING_PRODUCTS = 1000
"""Products of a request that fills the cache."""


def make_requests(sample: Sample, products: int, seed: int = 0) -> list[PredictRequest]:
    """Draw users and distinct products from a sample that has some; fewer products than asked if it has fewer."""
    drawn = random.Random(seed)
    count = min(products, len(sample.product.ids))
    return [_request(drawn.choice(sample.user.ids), drawn.sample(sample.product.ids, count)) for _ in range(VARIETY)]


def warming(requests: Sequence[PredictRequest]) -> list[PredictRequest]:
    """Return requests that ask once for everything that others ask for, in few rows."""
    users = list(dict.fromkeys(request.userId for request in requests))
    products = list(dict.fromkeys(product for request in requests for product in request.productIds))
    pages = [products[i : i + WARMING_PRODUCTS] for i in range(0, len(products), WARMING_PRODUCTS)]
    return [_request(users[0], page) for page in pages] + [_request(user, products[:1]) for user in users]


def body(request: PredictRequest) -> bytes:
    """Return a request as it arrives."""
    asked = {"requestId": request.requestId, "userId": request.userId, "productIds": request.productIds}
    return json.dumps(asked).encode()


def _request(user_id: str | None, product_ids: list[str]) -> PredictRequest:
    return PredictRequest(requestId="capacity", userId=user_id, productIds=product_ids)
