"""What Redis held when, and how old the rows are that an answer was made of.

Features are rewritten while the service ranks, and a write that timed out may or may not have happened. So the rule is:
an answer is right if its order is that of its scores, and one version of the user, and for each product one version of
it, give the scores that it shows, where a version counts if its write had begun before the answer. A version is as old
as the first later write of its key that was acknowledged, when the request was sent; an answer is as old as the oldest
version in it, of those that explain it the newest. Degraded answers may be of any age, and of defaults.
"""

from __future__ import annotations

import asyncio
import math
import time
from bisect import bisect_right
from dataclasses import dataclass
from random import Random
from typing import Protocol

import numpy as np
from redis.exceptions import RedisError

from ranker.scoring.model import OnnxModel
from ranker.vectors.stored.encoding import encode
from tests.faults.chaos.load import Outcome
from tests.service.conftest import ONNX, PRODUCTS, SCHEMA, USERS

PROMISE_S = 2.0
"""As documented: so long goes by until an invalidation connection that died, or lags, is noticed."""
STALE_S = PROMISE_S + 0.25
"""A full answer may be so old: what is promised, and turns of busy event loops."""
LIKELY_S = 30.0
"""Degraded answers are hardly ever older; one that this does not explain is compared with all that was ever written."""
DEFAULTS = np.array([SCHEMA.user.defaults]), np.array([SCHEMA.product.defaults])


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

    def age_s(self, outcome: Outcome) -> float:
        """Return how old an answer is, in seconds; infinite where it is wrong."""
        answer = outcome.answer
        ranking, shown = [int(i) for i in answer["ranking"]], answer["scores"]
        if sorted(ranking) != sorted(outcome.products) or len(shown) != len(ranking):
            return math.inf
        if outcome.kind.startswith("degraded scores"):
            return 0.0 if ranking == list(outcome.products) and set(shown) == {None} else math.inf
        if None in shown or (outcome.full and answer["missing"]) or not _in_order(ranking, shown, outcome.products):
            return math.inf
        scores, absent = np.array(shown), {int(i) for i in answer["missing"]}
        for horizon_s in (PROMISE_S if outcome.full else LIKELY_S, math.inf):
            age_s = self._age_s(outcome, ranking, scores, absent, horizon_s)
            if age_s < math.inf:
                return age_s if outcome.full else 0.0
        return math.inf

    def _age_s(
        self, outcome: Outcome, ranking: list[int], scores: np.ndarray, absent: set[int], horizon_s: float
    ) -> float:
        """Return an answer's age if versions of that age at most explain it, else infinity."""
        nothing = np.zeros(1)
        candidates = [
            (DEFAULTS[1], nothing) if i in absent else self._candidates(f"product:{i}", outcome, horizon_s)
            for i in ranking
        ]
        rows, ages = (np.concatenate(each) for each in zip(*candidates, strict=True))
        counts = [len(ages) for _, ages in candidates]
        starts = np.cumsum([0, *counts[:-1]])
        users, user_ages = self._candidates(f"user:{outcome.user}", outcome, horizon_s)
        if not outcome.full:
            users, user_ages = np.concatenate((users, DEFAULTS[0])), np.concatenate((user_ages, nothing))
        best = math.inf
        for user, user_age in zip(users, user_ages, strict=True):
            right = self._model.score(np.hstack((np.tile(user, (len(rows), 1)), rows)))
            explained = np.isclose(right, np.repeat(scores, counts), rtol=1e-4, atol=1e-5)
            youngest = np.minimum.reduceat(np.where(explained, ages, math.inf), starts)
            best = min(best, max(float(youngest.max()), user_age))
        return best

    def _candidates(self, key: str, outcome: Outcome, horizon_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the versions that count, shape (k, W), and their ages, shape (k,), in seconds; at least one."""
        vectors: list[np.ndarray] = []
        ages: list[float] = []
        superseded = math.inf
        versions = self.versions[key]
        for i in reversed(range(bisect_right(versions, outcome.ended, key=lambda version: version.begun))):
            age_s = max(0.0, outcome.sent - superseded)
            if age_s > horizon_s:
                break
            vectors.append(versions[i].vector)
            ages.append(age_s)
            superseded = min(superseded, versions[i].acknowledged)
        return np.array(vectors), np.array(ages)


def _in_order(ranking: list[int], scores: list[float], products: tuple[int, ...]) -> bool:
    """Say whether these are the best first, and equals as the request had them."""
    positions = {product: i for i, product in enumerate(products)}
    keys = [(-score, positions[product]) for product, score in zip(ranking, scores, strict=True)]
    return keys == sorted(keys)
