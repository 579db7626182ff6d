"""BentoML as its documentation shows it: an API service that depends on a service with a batchable method.

For models of one matrix. Default settings throughout. Two of them show: a batch holds 100 rows, so one request of 100
products fills it; and the client between the services renews its session after 100 calls, under those that are in
flight. redis-py's default pool refuses the 101st connection. The requests that fail for it are counted as errors.
"""

from __future__ import annotations

import os

import bentoml
import numpy as np
import onnxruntime as ort
import redis.asyncio as aioredis

from benchmarks.profiles import layout as layouts


@bentoml.service
class Scorer:
    """Scores matrices; BentoML batches the calls."""

    model = bentoml.models.BentoModel(os.environ["BENCH_MODEL_TAG"])

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        path = self.model.path_of("model.onnx")
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input_name = self.session.get_inputs()[0].name

    @bentoml.api(batchable=True)
    def score(self, matrix: np.ndarray) -> np.ndarray:
        """Score a matrix (n, F)."""
        scores: np.ndarray = self.session.run(None, {self.input_name: matrix})[0]
        return scores


@bentoml.service
class Ranking:
    """Ranks a user's products."""

    scorer = bentoml.depends(Scorer)

    def __init__(self) -> None:
        self.redis = aioredis.from_url(os.environ["BENCH_REDIS_URL"])
        self.layout = layouts.of_environment()

    @bentoml.api
    async def predict(self, requestId: str, userId: str, productIds: list[str], zipCode: str = "") -> dict[str, object]:
        """Rank the products, best first."""
        values = await self.redis.mget([f"user:{userId}", *(f"product:{i}" for i in productIds)])
        user = np.frombuffer(values[0], dtype=self.layout.user.record)[0]
        products = np.frombuffer(b"".join(values[1:]), dtype=self.layout.product.record)
        scores = (await self.scorer.to_async.score(self.layout.feeds(user, products)["features"])).reshape(-1)
        order = np.argsort(-scores, kind="stable")
        return {
            "requestId": requestId,
            "ranking": [productIds[i] for i in order],
            "scores": scores[order].tolist(),
            "zipCode": zipCode,
        }
