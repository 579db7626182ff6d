"""Request bodies, seeded: the same for the benchmarks, `ranker bench` and `locustfile.py`.

Products are drawn by Zipf popularity, users evenly. Imports numpy only, for the benchmarks' contenders import it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

SEED = 20260
ZIPF = 1.0
COUNT = 2_000
"""Bodies of a run, sent in turn."""
PRODUCTS_PER_REQUEST = 100
MANY = 4
"""Divisor of n products: more than n / MANY are many to draw, for skipping repeats would mostly skip."""


def bodies(
    user_ids: Sequence[str],
    product_ids: Sequence[str],
    *,
    products_per_request: int = PRODUCTS_PER_REQUEST,
    count: int = COUNT,
    zipf: float = ZIPF,
    seed: int = SEED,
) -> list[str]:
    """Return request bodies; equal arguments give equal bodies.

    Args:
        user_ids: Whom to draw users from, evenly.
        product_ids: What to draw from; which of them are popular is seeded too.
        products_per_request: Distinct products of each request, in the order drawn, so popular ones tend to be first.
        count: How many bodies.
        zipf: The k-th most popular product is drawn in proportion to k^-zipf.
        seed: Of everything.

    Raises:
        ValueError: there are fewer products than a request takes.
    """
    rng = np.random.default_rng([seed, products_per_request])
    popular_first = np.random.default_rng(seed).permutation(len(product_ids))
    users = rng.integers(0, len(user_ids), count)
    draws = distinct_ranks(rng, len(product_ids), products_per_request, count, zipf)
    return [
        json.dumps(
            {
                "requestId": f"r{number:05d}",
                "userId": user_ids[user],
                "productIds": [product_ids[popular_first[rank]] for rank in ranks],
                "zipCode": "12345",
            },
            separators=(",", ":"),
        )
        for number, (user, ranks) in enumerate(zip(users, draws, strict=True))
    ]


def distinct_ranks(
    rng: np.random.Generator, n: int, k: int, count: int, zipf: float
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield draws of k distinct popularity ranks below n, one after the other without replacement.

    Drawing with replacement and skipping repeats gives the same distribution, fast where k is a small part of n; the
    order of exponential waiting times does so too (Efraimidis and Spirakis, 2006), and takes the same time for any k.

    Raises:
        ValueError: there are fewer than k.
    """
    if k > n:
        raise ValueError(f"{k} distinct products cannot be drawn from {n}")
    weights = np.arange(1, n + 1, dtype=np.float64) ** -zipf
    if k > n / MANY:
        for _ in range(count):
            yield np.argsort(rng.exponential(size=n) / weights)[:k]
        return
    cumulative = np.cumsum(weights)
    for _ in range(count):
        drawn = np.empty(0, dtype=np.int64)
        while len(drawn) < k:
            more = np.searchsorted(cumulative, rng.random(2 * k) * cumulative[-1], side="right")
            both = np.concatenate([drawn, np.minimum(more, n - 1)])
            drawn = both[np.sort(np.unique(both, return_index=True)[1])]
        yield drawn[:k]
