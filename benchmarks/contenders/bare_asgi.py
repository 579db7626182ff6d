"""Bare ASGI app with the same bytes: no framework, no validation, no merging, no cache, no metrics.

The floor that a framework's toll is measured against.
"""

import os
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson
import redis.asyncio as aioredis

from benchmarks.harness.workload import HEADER_BYTES, WIDTH

pool = aioredis.BlockingConnectionPool.from_url(os.environ["BENCH_REDIS_URL"], max_connections=32, timeout=20)
redis = aioredis.Redis(connection_pool=pool)
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
input_name = session.get_inputs()[0].name
record = np.dtype([("header", f"V{HEADER_BYTES}"), ("values", "<f4", (WIDTH,))])


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
    vectors = np.frombuffer(b"".join(values), dtype=record)["values"]
    rows = np.empty((len(ids), 2 * WIDTH), dtype=np.float32)
    rows[:, :WIDTH] = vectors[0]
    rows[:, WIDTH:] = vectors[1:]
    scores = session.run(None, {input_name: rows})[0].reshape(-1)
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
