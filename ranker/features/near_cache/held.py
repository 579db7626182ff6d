"""Held rows: looks up the users and products of all requests of a round in two arenas, in a few array operations.

Owns which requests can be answered from memory alone. Knows nothing of reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain, pairwise

import numpy as np

from ranker.features.near_cache.arena import Arena
from ranker.vectors.rows import Features, ProductId, Rows, UserId

Asked = tuple[UserId | None, Sequence[ProductId]]
"""The user, None where it is nobody's, and the products of one request."""


def find_held(users: Arena, products: Arena, asked: Sequence[Asked], now: float, nobody: Rows) -> list[Features | None]:
    """Return the features of each request whose rows are all fresh at the time `now`; None for the others.

    Requests of nobody get the row `nobody`. The rows of all requests are taken out together, so those of one are views
    that keep the memory of all.
    """
    found: list[Features | None] = [None] * len(asked)
    user_ids = [user_id for user_id, _ in asked]
    user_slots = users.slots(user_ids)  # type: ignore[arg-type]  # None is in no arena
    stale_users = users.stale(user_slots, now)
    of_nobody = [i for i, user_id in enumerate(user_ids) if user_id is None] if None in user_ids else []
    if of_nobody:
        stale_users[of_nobody] = False
    (which,) = (~stale_users).nonzero()
    lists = [asked[i][1] for i in which.tolist()]
    slots = products.slots([*chain.from_iterable(lists)])
    stale = products.stale(slots, now)
    if np.count_nonzero(stale):
        counts = np.array([*map(len, lists)], np.intp)
        stale_before = np.concatenate(([0], np.cumsum(stale)))
        ends = np.cumsum(counts)
        is_held = stale_before[ends] == stale_before[ends - counts]
        which, slots = which[is_held], slots[np.repeat(is_held, counts)]
        lists = [asked[i][1] for i in which.tolist()]
    if not len(which):
        return found
    user_rows, product_rows = users.rows(user_slots[which]), products.rows(slots)
    bounds = pairwise(accumulate(map(len, lists), initial=0))
    for at, (i, (start, stop)) in enumerate(zip(which.tolist(), bounds, strict=True)):
        found[i] = Features(user_rows.part(at, at + 1), product_rows.part(start, stop), 1 + stop - start)
    for i in of_nobody:
        if (features := found[i]) is not None:
            features.user, features.held = nobody, features.held - 1
    return found
