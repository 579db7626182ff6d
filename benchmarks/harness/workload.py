"""Workload: the size of what is asked and stored, the same for every contender and generator.

The requests themselves are `ranker.loadtest.bodies`, seeded; what they are ranked by, a profile has.
"""

from __future__ import annotations

from ranker.loadtest.bodies import COUNT as BODIES
from ranker.loadtest.bodies import PRODUCTS_PER_REQUEST, SEED, ZIPF

PRODUCTS = 10_000
USERS = 1_000
SETTINGS = {
    "products": PRODUCTS,
    "users": USERS,
    "products_per_request": PRODUCTS_PER_REQUEST,
    "bodies": BODIES,
    "zipf": ZIPF,
    "seed": SEED,
}
"""The workload, as a result states it."""
DB_BINARY, DB_JSON, DB_LARGE = 0, 1, 2
"""Redis databases: vectors of version 1, JSON inside JSON, and version 1 of the large catalogue."""
LARGE_PRODUCTS = 1_000_000
"""Products of the large catalogue, which only a sweep asks for."""
