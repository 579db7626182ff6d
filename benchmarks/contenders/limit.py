"""Limit study: what a request costs in plain Python when everything is held and nothing is promised.

The same bytes in and out and the same checks of the body as Ranker's, in one vectorised pass over all requests that
arrived in one turn of the event loop: no task, future, timeout or context per request. There is no Redis on the way
(all rows are read at the start), no deadline, no admission, no metrics, and HTTP just as far as the generator speaks
it. What a complete service costs beyond this is the price of its promises.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from itertools import chain, repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import orjson
from redis import Redis

from benchmarks.profiles import layout as layouts
from benchmarks.profiles.layout import Stored
from ranker.api.predict import parse

MAX_PRODUCTS = 1000
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


class Rows:
    """All vectors under a prefix, in one block for each input."""

    def __init__(self, redis: Redis, prefix: str, stored: Stored) -> None:
        keys = list(redis.scan_iter(f"{prefix}*", count=10_000))
        records = np.frombuffer(b"".join(redis.mget(keys)), stored.record)
        names = [name for name in records.dtype.names or () if name != "header"]
        self._values = {name: np.ascontiguousarray(records[name]) for name in names}
        self.place = {key.decode().removeprefix(prefix): at for at, key in enumerate(keys)}

    def take(self, places: npt.NDArray[np.intp]) -> dict[str, npt.NDArray[Any]]:
        """Return the rows at these places."""
        return {name: values[places] for name, values in self._values.items()}


class Ranking:
    """Ranks whatever has arrived."""

    def __init__(self) -> None:
        with Redis.from_url(os.environ["BENCH_REDIS_URL"]) as redis:
            self._layout = layouts.of_environment()
            self._users = Rows(redis, "user:", self._layout.user)
            self._products = Rows(redis, "product:", self._layout.product)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
        self._arrived: list[tuple[asyncio.Transport, bytes]] = []

    def arrived(self, transport: asyncio.Transport, body: bytes) -> None:
        """Take a request into this round."""
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._rank)
        self._arrived.append((transport, body))

    def _rank(self) -> None:
        arrived, self._arrived = self._arrived, []
        requests = [parse(body, MAX_PRODUCTS) for _, body in arrived]
        lists = [request.productIds for request in requests]
        counts = np.fromiter(map(len, lists), np.intp, len(lists))
        users = np.fromiter((self._users.place[request.userId] for request in requests), np.intp, len(requests))
        n = int(counts.sum())
        places = np.fromiter(map(self._products.place.get, chain.from_iterable(lists), repeat(-1)), np.intp, n)
        if (places < 0).any():
            raise SystemExit("a product that is not stored")
        feeds = self._layout.feeds(self._users.take(users.repeat(counts)), self._products.take(places))
        scores = self._session.run(None, feeds)[0].reshape(-1)
        start = 0
        for (transport, _), request, ids in zip(arrived, requests, lists, strict=True):
            own = scores[start : start + len(ids)]
            start += len(ids)
            order = (-own).argsort(kind="stable")
            answer = orjson.dumps(
                {
                    "requestId": request.requestId,
                    "ranking": [ids[i] for i in order.tolist()],
                    "scores": own[order],
                    "zipCode": request.zipCode,
                    "missing": [],
                    "missingUser": False,
                    "degraded": False,
                    "degradedReason": None,
                },
                option=orjson.OPT_SERIALIZE_NUMPY,
            )
            transport.write(HEAD % (len(answer), answer))


class Connection(asyncio.Protocol):
    """One connection, one request after the other."""

    def __init__(self, ranking: Ranking) -> None:
        self._ranking = ranking
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._data + data
        head, _, body = data.partition(b"\r\n\r\n")
        _, _, rest = head.lower().partition(b"\r\ncontent-length:")
        if not rest or len(body) < int(rest.partition(b"\r\n")[0]):
            self._data = data
            return
        self._data = b""
        self._ranking.arrived(self._transport, body)  # type: ignore[arg-type]  # asyncio gives TCP's


async def main(port: int) -> None:
    """Serve for ever."""
    ranking = Ranking()
    gc.collect()
    gc.freeze()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(ranking), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
