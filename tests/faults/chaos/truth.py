"""What Redis held when, and whether an answer is right by it.

Features are rewritten while the service ranks, and a write that timed out may or may not have happened. So the rule is:
a full answer to a request sent at t0 and answered at t1 is right if one version of the user, and for each product one
version of it, give the scores that it shows, where a version counts if its write had begun before t1, and no later one
of the same key had been acknowledged before t0 - `STALE_S`.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from random import Random
from typing import Protocol

import numpy as np
from redis.exceptions import RedisError

from ranker.encoding import encode
from ranker.model import OnnxModel
from ranker.tracking import HEARTBEAT_S
from tests.faults.chaos.load import Outcome
from tests.service.conftest import ONNX, PRODUCTS, SCHEMA, USERS

STALE_S = 2 * HEARTBEAT_S + 0.5
"""A cached row may be so old: the longest that a dead invalidation connection goes unnoticed, and half a second for
machines that are busy."""


class Stores(Protocol):
    """Where features are written to."""

    def store(self, key: str, value: bytes) -> None:
        """Write a key; RedisError when nobody knows whether that happened, and lasts."""


@dataclass(slots=True)
class Version:
    """One write of one key; `acknowledged` is infinite when nobody knows whether it happened."""

    vector: np.ndarray
    begun: float
    acknowledged: float


class Truth:
    """Writes features, and remembers which.

    Attributes:
        versions: By key, in the order of writing.
        unacknowledged: Writes of which nobody knows whether they happened.
    """

    def __init__(self, server: Stores, random: Random) -> None:
        self._server = server
        self._random = random
        self._numbers = np.random.default_rng(random.randrange(2**32))
        self.versions: dict[str, list[Version]] = {}
        self._model = OnnxModel(ONNX, SCHEMA)
        self._keys = [f"user:{i}" for i in range(USERS)] + [f"product:{i}" for i in range(PRODUCTS)]
        self.unacknowledged = 0

    def stock(self) -> None:
        """Write every key once."""
        for key in self._keys:
            self._write(key)

    async def keep_writing(self, per_second: float) -> None:
        """Rewrite keys at random until cancelled; one that was stopped on the way counts as unacknowledged."""
        while True:
            await asyncio.sleep(1 / per_second)
            await asyncio.to_thread(self._write, self._random.choice(self._keys))

    def _write(self, key: str) -> None:
        width = SCHEMA.user.width if key.startswith("user:") else SCHEMA.product.width
        version = Version(self._numbers.normal(size=width).astype(np.float32), time.monotonic(), math.inf)
        self.versions.setdefault(key, []).append(version)
        try:
            self._server.store(key, encode(version.vector[None], SCHEMA.fingerprint)[0])
            version.acknowledged = time.monotonic()
        except RedisError:
            self.unacknowledged += 1

    def allows(self, outcome: Outcome) -> bool:
        """Return whether a full answer is right."""
        answer = outcome.answer
        ranking, scores = [int(i) for i in answer["ranking"]], np.array(answer["scores"])
        if sorted(ranking) != sorted(outcome.products) or answer["missing"] or np.any(np.diff(scores) > 0):
            return False
        candidates = [self._candidates(f"product:{i}", outcome) for i in ranking]
        rows = np.concatenate(candidates)
        starts = np.cumsum([0] + [len(c) for c in candidates[:-1]])
        shown = np.repeat(scores, [len(c) for c in candidates])
        for user in self._candidates(f"user:{outcome.user}", outcome):
            right = self._model.score(np.hstack((np.tile(user, (len(rows), 1)), rows)))
            if np.logical_or.reduceat(np.isclose(right, shown, rtol=1e-4, atol=1e-5), starts).all():
                return True
        return False

    def _candidates(self, key: str, outcome: Outcome) -> np.ndarray:
        """Return the versions that count, shape (k, W)."""
        found: list[np.ndarray] = []
        superseded = math.inf
        for version in reversed(self.versions[key]):
            if version.begun <= outcome.ended and superseded >= outcome.sent - STALE_S:
                found.append(version.vector)
            superseded = min(superseded, version.acknowledged)
        return np.array(found)
