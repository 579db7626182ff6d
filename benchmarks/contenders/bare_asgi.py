"""Bare ASGI app with the same bytes: no framework, no validation, no merging, no cache, no metrics.

The floor that a framework's toll is measured against.
"""

import os
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson
import redis.asyncio as aioredis

from benchmarks.profiles import layout as layouts

pool = aioredis.BlockingConnectionPool.from_url(os.environ["BENCH_REDIS_URL"], max_connections=32, timeout=20)
redis = aioredis.Redis(connection_pool=pool)
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
layout = layouts.of_environment()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer every HTTP request as if it were `POST /predict`."""
    if scope["type"] != "http":
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    request = orjson.loads(body)
    ids = request["productIds"]
    values = await redis.mget([f"user:{request['userId']}", *(f"product:{i}" for i in ids)])
    user = np.frombuffer(values[0], dtype=layout.user.record)[0]
    products = np.frombuffer(b"".join(values[1:]), dtype=layout.product.record)
    scores = session.run(None, layout.feeds(user, products))[0].reshape(-1)
    order = np.argsort(-scores, kind="stable")
    answer = orjson.dumps(
        {
            "requestId": request["requestId"],
            "ranking": [ids[i] for i in order],
            "scores": scores[order],
            "zipCode": request.get("zipCode", ""),
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
