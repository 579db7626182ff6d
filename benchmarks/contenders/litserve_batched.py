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

from benchmarks.harness.workload import HEADER_BYTES, WIDTH

MAX_BATCH_SIZE = 64

Batch = tuple[list[dict[str, Any]], npt.NDArray[np.float32]]


class RankingApi(litserve.LitAPI):
    """Ranks the products of every request of a batch."""

    def setup(self, device: str) -> None:
        """Open the model and Redis, in the inference worker."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
        self.input_name = self.session.get_inputs()[0].name
        self.redis = Redis.from_url(os.environ["BENCH_REDIS_URL"])
        self.record = np.dtype([("header", f"V{HEADER_BYTES}"), ("values", "<f4", (WIDTH,))])

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the request as it came."""
        return request

    def batch(self, inputs: list[dict[str, Any]]) -> Batch:
        """Fetch the vectors of all requests at once."""
        keys: list[str] = []
        for request in inputs:
            keys.append(f"user:{request['userId']}")
            keys += [f"product:{i}" for i in request["productIds"]]
        vectors = np.frombuffer(b"".join(self.redis.mget(keys)), dtype=self.record)["values"]
        rows = np.empty((len(keys) - len(inputs), 2 * WIDTH), dtype=np.float32)
        at = 0
        for position, request in enumerate(inputs):
            n = len(request["productIds"])
            rows[at : at + n, :WIDTH] = vectors[at + position]
            rows[at : at + n, WIDTH:] = vectors[at + position + 1 : at + position + 1 + n]
            at += n
        return inputs, rows

    def predict(self, batch: Batch) -> list[tuple[dict[str, Any], npt.NDArray[np.float32]]]:
        """Score all rows at once."""
        requests, rows = batch
        scores = self.session.run(None, {self.input_name: rows})[0]
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
