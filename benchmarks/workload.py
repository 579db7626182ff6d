"""What is asked: seeded request bodies, the same for every contender and generator.

Products are drawn by Zipf popularity, users evenly. Owns the requests and what the contenders must know of the stored
bytes; must not know of Redis, and imports numpy only, for the contenders import it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

HEADER_BYTES = 8
"""Before the values of a stored vector, version 1."""
WIDTH = 64
"""Features of a user, and of a product."""

PRODUCTS = 10_000
USERS = 1_000
PRODUCTS_PER_REQUEST = 100
BODIES = 2_000
ZIPF = 1.0
SEED = 20260
SETTINGS = {
    "products": PRODUCTS,
    "users": USERS,
    "products_per_request": PRODUCTS_PER_REQUEST,
    "features": f"{WIDTH} + {WIDTH}",
    "bodies": BODIES,
    "zipf": ZIPF,
    "seed": SEED,
}
"""What a result says of all this."""
DB_BINARY, DB_JSON, DB_LARGE = 0, 1, 2
"""Redis databases: vectors of version 1, JSON inside JSON, and version 1 of the large catalogue."""
LARGE_PRODUCTS = 1_000_000
"""Of the large catalogue, which only a sweep asks for."""


def bodies(
    user_ids: Sequence[str],
    product_ids: Sequence[str],
    *,
    products_per_request: int = PRODUCTS_PER_REQUEST,
    count: int = BODIES,
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

    Drawing with replacement and skipping repeats gives the same distribution.

    Raises:
        ValueError: there are fewer than k.
    """
    if k > n:
        raise ValueError(f"{k} distinct products cannot be drawn from {n}")
    cumulative = np.cumsum(np.arange(1, n + 1, dtype=np.float64) ** -zipf)
    for _ in range(count):
        drawn = np.empty(0, dtype=np.int64)
        while len(drawn) < k:
            more = np.searchsorted(cumulative, rng.random(2 * k) * cumulative[-1], side="right")
            both = np.concatenate([drawn, np.minimum(more, n - 1)])
            drawn = both[np.sort(np.unique(both, return_index=True)[1])]
        yield drawn[:k]
