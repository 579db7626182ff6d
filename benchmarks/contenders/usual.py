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

app = FastAPI()
redis = aioredis.from_url(os.environ["BENCH_REDIS_URL"], decode_responses=True, max_connections=2**31)
session = ort.InferenceSession(os.environ["BENCH_MODEL"], providers=["CPUExecutionProvider"])
input_name = session.get_inputs()[0].name


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
    rows = np.concatenate([users, np.array(products, dtype=object)], axis=1).astype(np.float32)
    scores = session.run(None, {input_name: rows})[0].flatten().tolist()
    ranked = sorted(zip(request.productIds, scores, strict=True), key=lambda pair: pair[1], reverse=True)
    return {
        "requestId": request.requestId,
        "ranking": [i for i, _ in ranked],
        "scores": [score for _, score in ranked],
        "zipCode": request.zipCode,
    }
