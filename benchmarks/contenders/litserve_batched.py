"""LitServe with batching, as its documentation shows it: setup, decode, batch, predict, unbatch, encode.

The batch is fetched with one MGET and scored with one call of the model; redis-py's blocking client suits the inference
worker, which does one batch at a time. LitServe's default of one API process and one inference process, and of no time
to wait for a batch to fill: measured here, waiting 1 or 5 ms costs throughput at 64 in flight. What the inference
worker spends on polling its empty queue, without pause, is in its CPU seconds.
"""

import os
import sys
from typing import Any

import litserve
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from redis import Redis

from benchmarks.profiles import layout as layouts

MAX_BATCH_SIZE = 64

Batch = tuple[list[dict[str, Any]], dict[str, npt.NDArray[Any]]]


class RankingApi(litserve.LitAPI):
    """Ranks the products of every request of a batch."""

    def setup(self, device: str) -> None:
        """Open the model and Redis, in the inference worker."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
        self.redis = Redis.from_url(os.environ["BENCH_REDIS_URL"])
        self.layout = layouts.of_environment()

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the request as it came."""
        return request

    def batch(self, inputs: list[dict[str, Any]]) -> Batch:
        """Fetch the vectors of all requests at once."""
        users = [f"user:{request['userId']}" for request in inputs]
        products = [f"product:{i}" for request in inputs for i in request["productIds"]]
        values = self.redis.mget([*users, *products])
        user = np.frombuffer(b"".join(values[: len(users)]), dtype=self.layout.user.record)
        product = np.frombuffer(b"".join(values[len(users) :]), dtype=self.layout.product.record)
        return inputs, self.layout.feeds(user.repeat([len(request["productIds"]) for request in inputs]), product)

    def predict(self, batch: Batch) -> list[tuple[dict[str, Any], npt.NDArray[np.float32]]]:
        """Score all rows at once."""
        requests, feeds = batch
        scores = self.session.run(None, feeds)[0].reshape(-1)
        ends = np.cumsum([len(request["productIds"]) for request in requests])
        return list(zip(requests, np.split(scores, ends[:-1]), strict=True))

    def unbatch(self, output: list[Any]) -> list[Any]:
        """Return the list itself: one entry a request."""
        return output

    def encode_response(self, output: tuple[dict[str, Any], npt.NDArray[np.float32]]) -> dict[str, Any]:
        """Rank."""
        request, scores = output
        order = np.argsort(-scores, kind="stable")
        ids = request["productIds"]
        return {
            "requestId": request["requestId"],
            "ranking": [ids[i] for i in order],
            "scores": scores[order].tolist(),
            "zipCode": request.get("zipCode", ""),
        }


if __name__ == "__main__":
    api = RankingApi(max_batch_size=MAX_BATCH_SIZE)
    server = litserve.LitServer(api, accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, access_log=False)
