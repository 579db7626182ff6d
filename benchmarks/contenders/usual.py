"""The usual design, as its users describe it.

FastAPI; redis-py asyncio with `decode_responses=True`; a GET and an MGET one after the other; values that are JSON
inside JSON, decoded with the standard library; object arrays; `tolist`; one process, scoring on the event loop.
"""

import json
import os

import numpy as np
import onnxruntime as ort
import redis.asyncio as aioredis
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.profiles import layout as layouts

app = FastAPI()
redis = aioredis.from_url(os.environ["BENCH_REDIS_URL"], decode_responses=True, max_connections=2**31)
session = ort.InferenceSession(os.environ["BENCH_MODEL"], providers=["CPUExecutionProvider"])
layout = layouts.of_environment()
columns = {name: layout.columns(name) for name in layout.inputs}


class PredictRequest(BaseModel):
    """Body of a request, as callers send it."""

    requestId: str
    userId: str
    productIds: list[str]
    zipCode: str = ""


@app.post("/predict")
async def predict(request: PredictRequest) -> dict[str, object]:
    """Rank the products."""
    user = json.loads(json.loads(await redis.get(f"user:{request.userId}")))
    values = await redis.mget([f"product:{i}" for i in request.productIds])
    products = [json.loads(json.loads(value)) for value in values]
    users = np.array([user] * len(products), dtype=object)
    rows = np.concatenate([users, np.array(products, dtype=object)], axis=1)
    if len(columns) == 1:
        feeds = {"features": rows.astype(np.float32)}
    else:
        feeds = {name: rows[:, at].astype(layouts.INPUTS[name]) for name, at in columns.items()}
    scores = session.run(None, feeds)[0].flatten().tolist()
    ranked = sorted(zip(request.productIds, scores, strict=True), key=lambda pair: pair[1], reverse=True)
    return {
        "requestId": request.requestId,
        "ranking": [i for i, _ in ranked],
        "scores": [score for _, score in ranked],
        "zipCode": request.zipCode,
    }
