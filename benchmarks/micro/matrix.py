"""Measures ways for the rows of k requests to become one matrix in the memory that the runner scores from.

    python -m benchmarks.micro.matrix

- today: each request's matrix is assembled, those of a call are joined, and the call is copied into shared memory.
- user once: users' and products' rows cross apart, and the runner repeats each user's row for its products.
- in place: each request writes its rows straight into the shared memory of the call.

Microseconds per request, medians of rounds in turn. What it does not measure: everything else a request costs, some
250 µs of CPU with 100 products; what is saved here is to be compared with that.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from timeit import timeit

import numpy as np

from ranker.vectors.rows import Matrix

CASES = ((64, 64, 100, 1), (64, 64, 100, 16), (64, 64, 1000, 2), (256, 64, 100, 16), (16, 16, 100, 16))
"""User's width, product's width, products of a request, requests of a call."""
ROUNDS, CALLS = 9, 200


def main() -> None:
    """Print a table."""
    print("| user + product | products | requests | today | user once | in place |\n|---|---:|---:|---:|---:|---:|")
    for user_width, product_width, products, requests in CASES:
        ways = contenders(user_width, product_width, products, requests)
        results = [way().copy() for way in ways]
        if not all(np.array_equal(results[0], other) for other in results[1:]):
            raise RuntimeError("the ways do not give the same matrix")
        rounds = [[timeit(way, number=CALLS) / CALLS / requests * 1e6 for way in ways] for _ in range(ROUNDS)]
        figures = " | ".join(f"{median(column):.1f}" for column in zip(*rounds, strict=True))
        print(f"| {user_width} + {product_width} | {products} | {requests} | {figures} |")


def contenders(user_width: int, product_width: int, n: int, requests: int) -> list[Callable[[], Matrix]]:
    """Return the ways, in the table's order; each returns the same matrix (n * requests, F)."""
    rng = np.random.default_rng(0)
    users = [rng.standard_normal((1, user_width), dtype=np.float32) for _ in range(requests)]
    products = [rng.standard_normal((n, product_width), dtype=np.float32) for _ in range(requests)]
    rows, width = n * requests, user_width + product_width
    shared = np.empty((rows, width), np.float32)
    shared_users = np.empty((requests, user_width), np.float32)
    shared_products = np.empty((rows, product_width), np.float32)
    scored = np.empty((rows, width), np.float32)
    lengths = np.full(requests, n)

    def fill(matrix: Matrix, user: Matrix, its_products: Matrix) -> Matrix:
        matrix[:, :user_width] = user
        matrix[:, user_width:] = its_products
        return matrix

    def today() -> Matrix:
        made = [fill(np.empty((n, width), np.float32), *pair) for pair in zip(users, products, strict=True)]
        shared[:] = np.concatenate(made) if requests > 1 else made[0]
        return shared

    def user_once() -> Matrix:
        shared_users[:] = np.concatenate(users)
        shared_products[:] = np.concatenate(products)
        return fill(scored, np.repeat(shared_users, lengths, axis=0), shared_products)

    def in_place() -> Matrix:
        for i, pair in enumerate(zip(users, products, strict=True)):
            fill(shared[i * n : (i + 1) * n], *pair)
        return shared

    return [today, user_once, in_place]


if __name__ == "__main__":
    main()
