"""The seeded requests of load tests."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ranker.loadtest.bodies import bodies, distinct_ranks

USERS = [f"u{i}" for i in range(20)]
PRODUCTS = [f"p{i}" for i in range(500)]


def test_bodies_are_seeded() -> None:
    first, again = (bodies(USERS, PRODUCTS, products_per_request=10, count=5) for _ in range(2))
    assert first == again
    assert first != bodies(USERS, PRODUCTS, products_per_request=10, count=5, seed=1)


def test_products_of_a_request_are_distinct_and_known() -> None:
    for body in bodies(USERS, PRODUCTS, products_per_request=400, count=20):
        request = json.loads(body)
        assert len(set(request["productIds"])) == 400
        assert set(request["productIds"]) <= set(PRODUCTS)
        assert request["userId"] in USERS


def test_all_products_can_be_asked_for_and_not_more() -> None:
    rng = np.random.default_rng(0)
    (ranks,) = distinct_ranks(rng, 30, 30, 1, 1.0)
    assert sorted(ranks) == list(range(30))
    with pytest.raises(ValueError, match="31 distinct"):
        next(distinct_ranks(rng, 30, 31, 1, 1.0))


def test_first_product_follows_zipf() -> None:
    firsts = np.array([draw[0] for draw in distinct_ranks(np.random.default_rng(0), 100, 2, 20_000, 1.0)])
    counts = np.bincount(firsts, minlength=100)
    expected = 1 / np.arange(1, 101)
    expected *= len(firsts) / expected.sum()
    # Pearson's statistic has 99 degrees of freedom: mean 99, standard deviation 14.
    assert ((counts - expected) ** 2 / expected).sum() < 160
